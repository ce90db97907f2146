/** All tables of the walk-throughs. */
import type { Scenario } from './row.ts'
import { HTTP_000, PASSTHROUGH_000, TLS_000 } from './rows-000.ts'
import { WALK_001 } from './rows-001.ts'
import { HTTP_MTLS_002, HTTP_PLAIN_002, TLS_MTLS_002, TLS_PASSTHROUGH_002 } from './rows-002.ts'
import { WALK_003 } from './rows-003.ts'
import { ALLOW_ANY_004, REGISTRY_ONLY_004, TIMEOUT_004 } from './rows-004.ts'

export const WALK_THROUGHS: readonly Scenario[] = [
  // The slow one first: others run meanwhile.
  TIMEOUT_004,
  HTTP_000,
  TLS_000,
  PASSTHROUGH_000,
  WALK_001,
  HTTP_MTLS_002,
  HTTP_PLAIN_002,
  TLS_MTLS_002,
  TLS_PASSTHROUGH_002,
  WALK_003,
  REGISTRY_ONLY_004,
  ALLOW_ANY_004,
]
