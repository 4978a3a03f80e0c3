"""A Lambda function as it is deployed: nothing in it knows where it runs."""

import json

import boto3


def handler(event, context):
    where = event["requestContext"]
    if where["eventType"] == "MESSAGE":
        connections = boto3.client(
            "apigatewaymanagementapi",
            endpoint_url=f"https://{where['domainName']}/{where['stage']}",
        )
        message = {"echo": event["body"], "request_id": context.aws_request_id}
        connections.post_to_connection(
            ConnectionId=where["connectionId"], Data=json.dumps(message).encode()
        )
    print(where["eventType"], where["connectionId"])
    return {"statusCode": 200}
