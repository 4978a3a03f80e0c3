// The loop that Lambda's own Node.js runtime has: one event after the other from the Runtime API.
import http from "node:http";
import { json } from "node:stream/consumers";

const [file, name] = process.env._HANDLER.split(".");
const handler = (await import(`./${file}.mjs`))[name];
const root = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation`;

// An event may be hours away, and fetch waits five minutes at most for an answer.
const get = (url) =>
  new Promise((resolve, reject) => http.get(url, resolve).on("error", reject));

for (;;) {
  const next = await get(`${root}/next`);
  const event = await json(next);
  const awsRequestId = next.headers["lambda-runtime-aws-request-id"];
  const deadline = Number(next.headers["lambda-runtime-deadline-ms"]);
  const context = { awsRequestId, getRemainingTimeInMillis: () => deadline - Date.now() };
  const post = (path, value) =>
    fetch(`${root}/${awsRequestId}/${path}`, { method: "POST", body: JSON.stringify(value ?? null) });
  try {
    await post("response", await handler(event, context));
  } catch (error) {
    const stackTrace = error.stack?.split("\n");
    await post("error", { errorType: error.name, errorMessage: error.message, stackTrace });
  }
}
