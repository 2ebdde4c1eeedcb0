// The `openai` package for JavaScript, through everything that people do with it. Prints what it saw, as JSON.
import OpenAI from "openai";

const [baseURL, model, embedder] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey: process.env.OUTPOST_API_KEY ?? "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Say hello to the harbour." }];
const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather of a town",
    parameters: { type: "object", properties: { town: { type: "string" } }, required: ["town"], additionalProperties: false },
  },
};
const town = { type: "object", properties: { town: { type: "string", maxLength: 20 } }, required: ["town"], additionalProperties: false };
const seen = {};

seen.models = (await client.models.list()).data.map((one) => one.id);

const whole = await client.chat.completions.create({ model, messages, max_tokens: 8, temperature: 0 });
seen.chat = { text: whole.choices[0].message.content, usage: whole.usage };

let text = "", usage = null;
const stream = await client.chat.completions.create({
  model, messages, max_tokens: 8, temperature: 0, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
seen.stream = { text, usage };

const called = await client.chat.completions.create({
  model, messages, tools: [weather], tool_choice: { type: "function", function: { name: "weather" } }, max_tokens: 60, temperature: 0,
});
const call = called.choices[0].message.tool_calls[0];
seen.tools = { name: call.function.name, arguments: JSON.parse(call.function.arguments), id: call.id };

const runner = await client.chat.completions.create({
  model,
  messages: [
    ...messages, { role: "assistant", content: null, tool_calls: [call] }, { role: "tool", tool_call_id: call.id, content: "sunny" },
  ],
  max_tokens: 4,
});
seen.tool_result = runner.choices[0].finish_reason;

const structured = await client.chat.completions.create({
  model, messages, max_tokens: 60, temperature: 0,
  response_format: { type: "json_schema", json_schema: { name: "town", strict: true, schema: town } },
});
seen.structured = JSON.parse(structured.choices[0].message.content);

const vectors = await client.embeddings.create({ model: embedder, input: ["one", "two"] });
seen.embeddings = vectors.data.map((one) => one.embedding.length);

const errors = {};
for (const [name, ask] of Object.entries({
  unknown_model: () => client.chat.completions.create({ model: "no-such-model", messages }),
  bad_request: () => client.chat.completions.create({ model, messages, temperature: 9 }),
})) {
  try {
    await ask();
  } catch (error) {
    errors[name] = { type: error.constructor.name, status: error.status, code: error.code };
  }
}
seen.errors = errors;

const endless = await client.chat.completions.create({ model, messages, max_tokens: 2000, stream: true });
let events = 0;
for await (const _ of endless) {
  if (++events === 5) endless.controller.abort();
}
seen.cancelled_after = events;

console.log(JSON.stringify(seen));
