// Runs once, in an empty database, as root: one user a service, each with the rights that its calls to the store need
// and no more. Passwords are taken from the very addresses that the services read (secrets/store_url_*).
// A service that makes a new kind of call gets its right here; in a running database repeat it by hand (docs/docker.md).
const fs = require("fs");
const database = db.getSiblingDB("churnwatch");

const READ = ["find"];
const ADD = ["find", "insert"];
const CHANGE = ["find", "insert", "update"];
// What PredictionStore.check() does at a service's start: create indexes that are absent, write and read one document.
const CHECK = {checks: CHANGE, predictions: ["createIndex"], labels: ["createIndex"], documents: ["createIndex"]};
const REMOVE = ["remove"];
const KEPT = ["predictions", "labels", "customer_labels", "customers", "transactions", "documents", "shards"];
const LABEL = {predictions: READ, labels: CHANGE, customer_labels: CHANGE};

const services = {
  web: [CHECK, LABEL, {predictions: ADD, customers: READ}],
  stream: [CHECK, {predictions: ADD, shards: CHANGE, documents: CHANGE}],
  // Whose retention is over, the watch deletes. Nobody else may delete anything.
  watch: [CHECK, LABEL, {documents: CHANGE}, {predictions: REMOVE, labels: REMOVE, customer_labels: REMOVE}],
  report: [CHECK, {predictions: READ, labels: READ, customer_labels: READ, documents: CHANGE}],
  // Promotions and retrainings take their turns by leases, like the shards of a stream.
  train: [CHECK, {predictions: READ, labels: READ, customer_labels: READ, customers: CHANGE, documents: CHANGE},
    {shards: CHANGE, transactions: [...ADD, "createIndex"]}],
  // It copies everything and puts it back: its address is mounted by nothing that stays up.
  backup: KEPT.map((name) => ({[name]: ["find", "insert", ...REMOVE]})).concat({"": ["listCollections"]}),
};

for (const name of [...KEPT, "checks"]) {
  database.createCollection(name);
}
for (const [service, grants] of Object.entries(services)) {
  const url = fs.readFileSync(`/run/secrets/store_url_${service}`, "utf8").trim();
  const [, user, password] = url.match(/^mongodb:\/\/([^:]+):([^@]+)@/);
  const privileges = grants.flatMap((grant) => Object.entries(grant)).map(([collection, actions]) => ({
    resource: {db: "churnwatch", collection},
    actions,
  }));
  database.createRole({role: service, privileges, roles: []});
  database.createUser({user, pwd: password, roles: [service]});
}
