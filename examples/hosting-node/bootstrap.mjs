// The loop that Lambda's own Node.js runtime has: one event after the other from the Runtime API.
const [file, name] = process.env._HANDLER.split(".");
const handler = (await import(`./${file}.mjs`))[name];
const root = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation`;

for (;;) {
  const next = await fetch(`${root}/next`);
  const awsRequestId = next.headers.get("lambda-runtime-aws-request-id");
  const deadline = Number(next.headers.get("lambda-runtime-deadline-ms"));
  const context = { awsRequestId, getRemainingTimeInMillis: () => deadline - Date.now() };
  const post = (path, value) =>
    fetch(`${root}/${awsRequestId}/${path}`, { method: "POST", body: JSON.stringify(value ?? null) });
  try {
    await post("response", await handler(await next.json(), context));
  } catch (error) {
    const stackTrace = error.stack?.split("\n");
    await post("error", { errorType: error.name, errorMessage: error.message, stackTrace });
  }
}
