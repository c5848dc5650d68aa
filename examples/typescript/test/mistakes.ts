// What the types must not let pass: tsc fails if one of these is no error.

import createClient from "openapi-fetch";
import type { components, paths } from "../../../clients/typescript/controlplane.d.ts";

const api = createClient<paths>({ baseUrl: "http://127.0.0.1:8000" });

// @ts-expect-error there is no such role
await api.GET("/api/v1/agents/", { params: { query: { role: "boss" } } });

// @ts-expect-error a page has a size, not a sice
await api.GET("/api/v1/agents/", { params: { query: { page_sice: 2 } } });

// @ts-expect-error the path names an agent
await api.PUT("/agents/{agent_name}/freeze/enable", {});

// @ts-expect-error there is no such path
await api.GET("/api/v1/agent/");

// @ts-expect-error it needs a selector
await api.POST("/api/v1/operations/", { body: { action: "freeze.enable" } });

const { data, error } = await api.GET("/freeze/status");

// @ts-expect-error there may be no answer
console.log(data.freeze);

if (error) {
  const failure: components["schemas"]["Error"] = error;
  console.log(failure.message);
} else {
  // @ts-expect-error it is true or false
  const frozen: string = data.freeze;
  console.log(frozen);
}
