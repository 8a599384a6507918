/** The names of the API, from the OpenAPI document of the server. */

import type { components } from "./schema.js";

/** All schemas of the OpenAPI document by name. */
export type Schemas = components["schemas"];

export type Acknowledgement = Schemas["Acknowledgement"];
export type Attributes = Schemas["Attributes"];
export type EventProgress = Schemas["EventProgress"];
export type ExternalUser = Schemas["ExternalUser"];
export type FieldError = Schemas["FieldError"];
export type Grant = Schemas["Grant"];
export type GrantDetail = Schemas["GrantDetail"];
export type IngestionProgress = Schemas["IngestionProgress"];
export type Jwk = Schemas["Jwk"];
export type JwkSet = Schemas["JwkSet"];
export type NewActivity = Schemas["NewActivity"];
export type Problem = Schemas["Problem"];
export type Reason = Schemas["Reason"];
export type Receipt = Schemas["Receipt"];
export type Recorded = Schemas["Recorded"];
export type ReversalReceipt = Schemas["ReversalReceipt"];
export type RewardRequest = Schemas["RewardRequest"];
export type SignatureRecord = Schemas["SignatureRecord"];
export type SignedReceipt = Schemas["SignedReceipt"];
export type SignedReversal = Schemas["SignedReversal"];
export type Status = Schemas["Status"];
export type Terms = Schemas["Terms"];
export type Upserts = Schemas["Upserts"];
export type UserDetails = Schemas["UserDetails"];
