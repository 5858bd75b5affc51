// A day at the bank with grpc-js and proto-loader.
//
// int64 comes as a string: a JavaScript number is exact only up to 2^53.
"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const protobuf = require("protobufjs");

const CURRENCY = "NODE/2";
const PROTOS = path.resolve(__dirname, "../../proto");

const { bank } = grpc.loadPackageDefinition(
  loader.loadSync("bank/v1/bank.proto", {
    includeDirs: [PROTOS],
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
  }),
);
const client = new bank.v1.BankService(process.argv[2], grpc.credentials.createInsecure());

function call(method, request) {
  const deadline = new Date(Date.now() + 10_000);
  return new Promise((resolve, reject) => {
    client[method](request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function refused(method, request) {
  try {
    await call(method, request);
  } catch (error) {
    return error;
  }
  throw new Error(`${method} was not refused`);
}

// The parts of google.rpc that the day looks at.
const rpc = protobuf.parse(`
  syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message PreconditionFailure { message Violation { string type = 1; string subject = 2; }
    repeated Violation violations = 1; }
  message BadRequest { message Violation { string field = 1; string description = 2; }
    repeated Violation field_violations = 1; }
`, { keepCase: true }).root;

function detail(error, name) {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const status = rpc.lookupType("Status").decode(bytes);
  const any = status.details.find((one) => one.type_url.endsWith(`google.rpc.${name}`));
  return rpc.lookupType(name).toObject(rpc.lookupType(name).decode(any.value));
}

// The parts of grpc.health.v1 that the day looks at; the bank's own proto file does not have them.
const health = protobuf.parse(`
  syntax = "proto3";
  message HealthCheckRequest { string service = 1; }
  message HealthCheckResponse { enum Status { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; } Status status = 1; }
`).root;

function healthOf(service) {
  const request = health.lookupType("HealthCheckRequest");
  const answer = health.lookupType("HealthCheckResponse");
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      "/grpc.health.v1.Health/Check",
      (message) => Buffer.from(request.encode(message).finish()),
      (bytes) => answer.toObject(answer.decode(bytes), { enums: String }),
      { service },
      { deadline: new Date(Date.now() + 10_000) },
      (error, message) => (error ? reject(error) : resolve(message.status)),
    );
  });
}

async function checkHealth() {
  for (const service of ["", "bank.v1.BankService"]) {
    assert.equal(await healthOf(service), "SERVING", service);
  }
}

async function posted(accountId) {
  return (await call("GetBalance", { accountId })).balance.posted;
}

// The whole statement, in pages of two.
async function statement(accountId) {
  const entries = [];
  let pageToken = "";
  do {
    const page = await call("ListTransactions", { accountId, pageSize: 2, pageToken });
    assert.ok(page.transactions.length <= 2, `a page of ${page.transactions.length}`);
    entries.push(...page.transactions);
    pageToken = page.nextPageToken;
  } while (pageToken);
  return entries;
}

async function changeName(accountId, etag) {
  const change = {
    account: { accountId, displayName: "Nora", overdraftLimit: "7", etag },
    updateMask: { paths: ["display_name"] },
  };
  const { account } = await call("UpdateAccount", change);
  // What the mask does not name stays as it was.
  assert.deepEqual([account.displayName, account.overdraftLimit], ["Nora", "0"]);
  const stale = await refused("UpdateAccount", change);
  assert.equal(stale.code, grpc.status.ABORTED);
  assert.deepEqual(detail(stale, "ErrorInfo"), {
    reason: "ETAG_MISMATCH",
    domain: "bank.v1",
    metadata: { account_id: accountId, current_etag: account.etag },
  });
}

async function freezeAndUnfreeze(accountId) {
  const { account } = await call("FreezeAccount", { accountId, reason: "lost card" });
  assert.equal(account.state, "ACCOUNT_STATE_FROZEN");
  const cold = await refused("Withdraw", { accountId, amount: money(1) });
  assert.equal(cold.code, grpc.status.FAILED_PRECONDITION);
  assert.equal(detail(cold, "ErrorInfo").reason, "ACCOUNT_FROZEN");
  const warm = await call("UnfreezeAccount", { accountId });
  assert.equal(warm.account.state, "ACCOUNT_STATE_ACTIVE");
}

const money = (minorUnits) => ({ currencyCode: CURRENCY, minorUnits: String(minorUnits) });

async function main() {
  const opened = await call("CreateAccount", {
    accountId: "a-node", currencyCode: CURRENCY, initialBalance: "9007199254740993",
  });
  // 2^53 + 1, which no double can tell from 2^53.
  assert.equal(opened.account.balance.posted, "9007199254740993");
  await call("CreateAccount", { accountId: "b-node", currencyCode: CURRENCY });

  const deposit = await call("Deposit", { accountId: "b-node", amount: money(1050) });
  assert.equal(deposit.balance.posted, "1050");
  assert.equal(deposit.transaction.type, "TRANSACTION_TYPE_DEPOSIT");

  const rent = { requestId: "node-rent", fromAccountId: "b-node", toAccountId: "a-node", amount: money(50) };
  const paid = await call("Transfer", rent);
  assert.equal(paid.fromBalance.posted, "1000");
  assert.equal(paid.toBalance.posted, "9007199254741043");
  assert.equal(paid.replayed, false);

  const poor = await refused("Withdraw", { accountId: "b-node", amount: money(1001) });
  assert.equal(poor.code, grpc.status.FAILED_PRECONDITION);
  assert.deepEqual(detail(poor, "ErrorInfo"), {
    reason: "INSUFFICIENT_FUNDS",
    domain: "bank.v1",
    metadata: { account_id: "b-node", available: "1000", requested: "1001", currency_code: CURRENCY },
  });
  assert.deepEqual(detail(poor, "PreconditionFailure").violations, [
    { type: "INSUFFICIENT_FUNDS", subject: "accounts/b-node" },
  ]);
  const wrong = await refused("Deposit", { accountId: "@external:USD", amount: money(0) });
  assert.equal(wrong.code, grpc.status.INVALID_ARGUMENT);
  assert.deepEqual(
    detail(wrong, "BadRequest").field_violations.map((one) => one.field).sort(),
    ["account_id", "amount.minor_units"],
  );

  const again = await call("Transfer", rent);
  assert.deepEqual({ ...again, replayed: false }, paid);
  assert.equal(again.replayed, true);
  const other = await refused("Transfer", { ...rent, amount: money(51) });
  assert.equal(other.code, grpc.status.FAILED_PRECONDITION);
  assert.deepEqual(detail(other, "ErrorInfo"), {
    reason: "REQUEST_ID_REUSED",
    domain: "bank.v1",
    metadata: { request_id: "node-rent", field: "amount" },
  });
  // Neither the repeat nor the refusals moved anything.
  assert.deepEqual([await posted("a-node"), await posted("b-node")], ["9007199254741043", "1000"]);
  const found = await call("GetTransaction", { requestId: "node-rent" });
  assert.equal(found.transaction.transactionId, paid.transaction.transactionId);
  await changeName("a-node", opened.account.etag);
  await freezeAndUnfreeze("b-node");

  const entries = await statement("b-node");
  const moves = entries.map((one) => [one.amount.minorUnits, one.balanceAfter]);
  assert.deepEqual(moves, [["50", "1000"], ["1050", "1050"]]);
  const then = await call("GetBalance", {
    accountId: "b-node", asOfTime: deposit.transaction.createTime,
  });
  assert.equal(then.balance.posted, "1050");

  // A batch, bulk load through a pipe, and both seen live.
  const feed = client.WatchTransactions({ accountId: "b-node" });
  const messages = feed[Symbol.asyncIterator]();
  assert.equal((await messages.next()).value.transaction, null);
  const operation = (amount) => ({ deposit: { accountId: "b-node", amount: money(amount) } });
  const batch = await call("ExecuteBatch", { operations: [operation(1), operation(0)] });
  assert.deepEqual(batch.results.map((one) => one.result), ["transaction", "error"]);
  const pipe = client.ExecuteStream();
  for (let number = 2; number <= 100; number += 1) {
    pipe.write({ correlationId: String(number), operation: operation(number) });
  }
  pipe.end();
  const made = [batch.results[0].transaction.transactionId];
  let correlationId = 2;
  for await (const answer of pipe) {
    assert.equal(answer.correlationId, String(correlationId));
    correlationId += 1;
    made.push(answer.result.transaction.transactionId);
  }
  assert.equal(made.length, 100);
  const seen = [];
  while (seen.length < made.length) {
    const { value } = await messages.next();
    if (value.transaction) seen.push(value.transaction.transactionId);
  }
  assert.deepEqual(seen, made);
  feed.on("error", () => {});
  feed.cancel();
  // Newest first and each once, over many pages.
  assert.deepEqual(
    (await statement("b-node")).map((one) => one.transactionId),
    [...[...made].reverse(), ...entries.map((one) => one.transactionId)],
  );
  await call("Withdraw", { accountId: "b-node", amount: money((100 * 101) / 2) });

  assert.equal(detail(await refused("CloseAccount", { accountId: "b-node" }), "ErrorInfo").reason, "ACCOUNT_NOT_EMPTY");
  await call("Withdraw", { accountId: "b-node", amount: money(1000) });
  const closed = await call("CloseAccount", { accountId: "b-node" });
  assert.equal(closed.account.state, "ACCOUNT_STATE_CLOSED");
  const { totals } = await call("GetTrialBalance", { currencyCode: CURRENCY });
  assert.deepEqual(totals.map((one) => one.difference), ["0"]);
  await checkHealth();
}

main().then(
  () => client.close(),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
