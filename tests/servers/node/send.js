// What tests/servers/clients.py has posthog-node send: `node send.js HOST TOKEN NAME gzip|plain`. The same calls stand there in Python.
const { PostHog } = require("posthog-node");

const [host, token, name, compression] = process.argv.slice(2);
const client = new PostHog(token, {
  host,
  disableCompression: compression === "plain",
  enableLocalEvaluation: false,
  fetchRetryDelay: 100,
});
const [anonymous, user] = [`${name}-anonymous`, `${name}-user`];

client.capture({ distinctId: anonymous, event: "opened", properties: { page: "/start" } });
client.identify({
  distinctId: user,
  properties: { $set: { email: `${user}@example.com`, plan: "free" }, $anon_distinct_id: anonymous },
});
client.capture({ distinctId: user, event: "$set", properties: { $set: { seats: 5 } } });
client.alias({ distinctId: `${name}-before`, alias: `${name}-after` });
client.groupIdentify({ groupType: "company", groupKey: name, properties: { name: "Äcme" }, distinctId: user });
client.capture({ distinctId: user, event: "joined", groups: { company: name } });
client.capture({
  distinctId: user,
  event: "imported",
  uuid: process.env.EVENT_UUID,
  timestamp: new Date(process.env.EVENT_TIME),
});
client.shutdown();
