// List the agents, freeze one of them for a while, and read what the audit log says of it.
//
//   KVPLANE_URL=http://127.0.0.1:8000 KVPLANE_TOKEN=kvp_… node src/freeze.ts [agent]

import createClient, { type Client, type Middleware } from "openapi-fetch";
import type { components, paths } from "../../../clients/typescript/controlplane.d.ts";

type Agent = components["schemas"]["Agent"];
type AuditEntry = components["schemas"]["AuditEntry"];
type Failure = components["schemas"]["Error"];

// Every answer of the control plane that is no success has this shape.
class Refused extends Error {
  readonly status: number;
  readonly body: Failure;

  constructor(status: number, body: Failure) {
    super(`${status} ${body.error}: ${body.message}`);
    this.status = status;
    this.body = body;
  }
}

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name}`);
  return value;
}

function connect(url: string, token: string): Client<paths> {
  const authorize: Middleware = {
    onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${token}`);
      return request;
    },
  };
  const client = createClient<paths>({ baseUrl: url });
  client.use(authorize);
  return client;
}

// All agents, page by page.
async function* agents(api: Client<paths>): AsyncGenerator<Agent> {
  let cursor: string | null = null;
  do {
    const query: { cursor?: string; page_size: number } = { page_size: 2 };
    if (cursor !== null) query.cursor = cursor;
    const page: Awaited<ReturnType<typeof list>> = await list(api, query);
    yield* page.results;
    cursor = page.next_cursor;
  } while (cursor !== null);
}

async function list(api: Client<paths>, query: { cursor?: string; page_size: number }) {
  const { data, error, response } = await api.GET("/api/v1/agents/", { params: { query } });
  if (error) throw new Refused(response.status, error);
  return data;
}

// Freeze an agent; the operation that it was.
async function freeze(api: Client<paths>, agent: string, reason: string): Promise<string> {
  const { data, error, response } = await api.PUT("/agents/{agent_name}/freeze/enable", {
    params: {
      path: { agent_name: agent },
      query: { reason, expires_in_s: 600 },
    },
  });
  if (error) throw new Refused(response.status, error);
  console.log(`${agent}: ${data.message}`);
  return response.headers.get("X-KVPlane-Operation") ?? "";
}

async function entriesOf(api: Client<paths>, operation: string): Promise<AuditEntry[]> {
  const { data, error, response } = await api.GET("/api/v1/audit/", {
    params: { query: { operation, ordering: "id" } },
  });
  if (error) throw new Refused(response.status, error);
  return data.results;
}

const api = connect(setting("KVPLANE_URL"), setting("KVPLANE_TOKEN"));
const names: string[] = [];
for await (const agent of agents(api)) {
  console.log(`${agent.name}: ${agent.role} of ${agent.engine}, ${agent.health}`);
  if (agent.role === "worker") names.push(agent.name);
}
const chosen = process.argv[2] ?? names[0];
if (chosen === undefined) throw new Error("there is no worker to freeze");
try {
  const operation = await freeze(api, chosen, "déploiement — a TypeScript example");
  for (const entry of await entriesOf(api, operation)) {
    console.log(`${entry.stage}: ${entry.action} by ${entry.actor_name}: ${entry.reason}`);
  }
} catch (problem) {
  if (!(problem instanceof Refused)) throw problem;
  console.error(problem.message);
  process.exitCode = 1;
}
