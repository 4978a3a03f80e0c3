// A Lambda function as it is deployed: nothing in it knows where it runs.
import {
  ApiGatewayManagementApiClient,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";

export const handler = async (event, context) => {
  const { connectionId, domainName, eventType, stage } = event.requestContext;
  if (eventType === "MESSAGE") {
    const connections = new ApiGatewayManagementApiClient({
      endpoint: `https://${domainName}/${stage}`,
    });
    const message = { echo: event.body, request_id: context.awsRequestId };
    await connections.send(
      new PostToConnectionCommand({ ConnectionId: connectionId, Data: JSON.stringify(message) }),
    );
  }
  console.log(eventType, connectionId);
  return { statusCode: 200 };
};
