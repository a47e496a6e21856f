// Pushes a text to one WebSocket, or to all in a group:
//
//   node push.mjs connection REPLY_CHANNEL TEXT
//   node push.mjs group GROUP TEXT
//
// Exit status: 0 sent, 1 the connection is gone, 2 wrong use, 3 no answer.
import { decode, encode } from "@msgpack/msgpack";
import { randomBytes } from "node:crypto";
import { createClient, RESP_TYPES } from "redis";

const NAMESPACE = process.env.GATEWAY_NAMESPACE ?? "gw";
const URL = process.env.GATEWAY_REDIS ?? "redis://127.0.0.1:6379/0";
const PUSH = 40, GROUP_SEND = 44;
const WAIT_S = 5;

// docs/protocol.md, "Pushing": the one script call.
const SCRIPT = `
if redis.call('EXISTS', KEYS[1]) == 0 then
  local inc = redis.call('GET', ARGV[3]) or ''
  local left = (tonumber(inc:match('%.(%d+)$')) or 0) / 1000 - redis.call('TIME')[1]
  return {left > 0 and left < 60 and -3 or -1, inc}
end
if redis.call('LLEN', KEYS[2]) + #ARGV - 3 > tonumber(ARGV[2]) then
  return -2
end
local length = 0
for index = 4, #ARGV do
  length = redis.call('RPUSH', KEYS[2], ARGV[index])
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
return length
`;

// The pusher names itself after the list in which it awaits answers.
const id = randomBytes(16).toString("base64url");
const client = createClient({ url: URL });
client.on("error", () => {}); // each command below fails with it
const BINARY = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } };

/** Write one frame to the process `pid`; false: that process is gone. */
async function write(pid, frame) {
  const entry = Buffer.from(encode([1, id, null, [frame]]));
  const length = await client.eval(SCRIPT, {
    keys: [`${NAMESPACE}:{${pid}}:up`, `${NAMESPACE}:{${pid}}:push`],
    arguments: ["60", "1024", `${NAMESPACE}:{p}:inc`, entry],
  });
  if (length === -2) throw new Error(`${pid} does not keep up`);
  if (!Array.isArray(length)) return true;
  if (length[0] === -3) throw new Error(`Redis was away, and does not know ${pid} (yet)`);
  return false;
}

/** Wait for so many answers `[number, status, payload]`. */
async function answers(count) {
  const found = [];
  while (found.length < count) {
    const command = ["BLMPOP", `${WAIT_S}`, "1", `${NAMESPACE}:{r:${id}}`, "LEFT", "COUNT", "64"];
    const reply = await client.sendCommand(command, BINARY);
    if (reply === null) throw new Error("no answer");
    for (const entry of reply[1]) found.push(...decode(entry));
  }
  return found;
}

async function pushToConnection(replyChannel, text) {
  const [pid, connection] = replyChannel.split("!");
  const event = { type: "websocket.send", text };
  const sent = await write(pid, [connection, PUSH, [id, 1], event, null, true]);
  const status = sent ? (await answers(1))[0][1] : "gone";
  console.log(status);
  return status === "ok" ? 0 : 1;
}

async function pushToGroup(group, text) {
  const event = { type: "websocket.send", text };
  const pids = await client.zRange(`${NAMESPACE}:{g:${group}}`, 0, -1);
  let asked = 0;
  for (const pid of pids) {
    const frame = ["", GROUP_SEND, [id, asked + 1], group, event, [], null];
    if (await write(pid, frame)) asked += 1; // who is gone has no members any more
  }
  const counts = (await answers(asked)).map(([, , count]) => count);
  console.log(counts.reduce((sum, count) => sum + count, 0));
  return 0;
}

const [kind, target, ...words] = process.argv.slice(2);
const push = { connection: pushToConnection, group: pushToGroup }[kind];
if (!push || !target || words.length === 0) {
  console.error("usage: node push.mjs connection REPLY_CHANNEL TEXT | group GROUP TEXT");
  process.exit(2);
}
try {
  await client.connect();
  process.exitCode = await push(target, words.join(" "));
  await client.close();
} catch (error) {
  console.error(error.message || error.code);
  process.exit(3);
}
