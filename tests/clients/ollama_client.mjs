// The `ollama` package for JavaScript, through everything that people do with it. Prints what it saw, as JSON.
import { Ollama } from "ollama";

const [host, model, embedder] = process.argv.slice(2);
const key = process.env.OUTPOST_API_KEY;
const client = new Ollama({ host, headers: key ? { Authorization: `Bearer ${key}` } : {} });
const messages = [{ role: "user", content: "Say hello to the harbour." }];
const options = { temperature: 0, num_predict: 8 };
const seen = {};

seen.models = (await client.list()).models.map((one) => one.name);

const whole = await client.chat({ model, messages, options });
seen.chat = { text: whole.message.content, count: whole.eval_count, reason: whole.done_reason };

let text = "", last = null;
for await (const part of await client.chat({ model, messages, options, stream: true })) {
  text += part.message.content;
  last = part;
}
seen.stream = { text, count: last.eval_count, done: last.done, total_ns: last.total_duration };

const generated = await client.generate({ model, prompt: "The harbour is", options });
seen.generate = { text: generated.response, context: Array.isArray(generated.context) };

const weather = {
  type: "function",
  function: { name: "weather", description: "The weather of a town", parameters: { type: "object", properties: { town: { type: "string" } }, required: ["town"] } },
};
const called = await client.chat({ model, messages, tools: [weather], options });
seen.tools = typeof called.message.content === "string" || Array.isArray(called.message.tool_calls);

const town = { type: "object", properties: { town: { type: "string", maxLength: 20 } }, required: ["town"] };
const structured = await client.chat({ model, messages, format: town, options: { temperature: 0, num_predict: 60 } });
seen.structured = JSON.parse(structured.message.content);

seen.embeddings = (await client.embed({ model: embedder, input: ["one", "two"] })).embeddings.map((one) => one.length);

const shown = await client.show({ model });
seen.show = { family: shown.details.family, capabilities: shown.capabilities };
seen.ps = (await client.ps()).models.map((one) => one.name);

try {
  await client.chat({ model: "no-such-model", messages });
} catch (error) {
  seen.unknown_model = { type: error.name, status: error.status_code, message: error.message };
}

let events = 0;
try {
  const endless = await client.chat({ model, messages, stream: true, options: { num_predict: 2000 } });
  for await (const _ of endless) {
    if (++events === 5) endless.abort();
  }
} catch (error) {
  seen.aborted = error.name;
}
seen.cancelled_after = events;

console.log(JSON.stringify(seen));
