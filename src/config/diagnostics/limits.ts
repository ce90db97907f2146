/** Diagnostic rows SP80xx: EgressRateLimit. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const LIMIT_CODES = {
  SP8000: {
    severity: 'error',
    title: 'Repeated name or key of a limit',
    explanation:
      'Limits are told apart by name in headers, metrics and the store, so each needs its own within its resource; a key that is listed twice says nothing new.',
  },
  SP8001: {
    severity: 'error',
    title: 'Limit that counts nothing, or several things',
    explanation:
      'A limit counts exactly one of `requests`, `bytes`, `tunnels` and `budget`. Write a second limit for a second count: all that apply are enforced.',
  },
  SP8002: {
    severity: 'error',
    title: 'onStoreFailure does not fit the scope',
    explanation:
      'A global limit has to say what holds while Redis cannot be asked: `open` (not limited), `closed` (refused) or `local` (each process counts for itself). There is no default, because each of them is wrong for somebody. A local limit asks nobody.',
  },
  SP8003: {
    severity: 'error',
    title: 'Empty or invalid selection of a limit',
    explanation:
      'An entry of `from` or `to`, or a list in it, is empty, or one of its values can match nothing. Leave `from` or `to` out to mean any.',
  },
  SP8004: {
    severity: 'error',
    title: 'The key of a limit may be missing',
    explanation:
      'The limit counts by principal, namespace or service account, but also applies to callers that have none: callers without a client certificate, or with an ID that is not of the form `/ns/NS/sa/SA`. Such callers must neither go unlimited nor share a count with each other by accident. Say in every entry of `from` whom the limit is for (`principals: ["*"]` is everybody with an identity), and give callers without identity a limit of their own with `key: []` or `key: [host]`.',
  },
  SP8005: {
    severity: 'error',
    title: 'Global limit without Redis',
    explanation:
      'A limit of `scope: global` is counted in Redis, which `spec.redis` of the bootstrap file names. Without it every process would count for itself, and the limit would be as many times higher as there are processes.',
  },
  SP8006: {
    severity: 'error',
    title: 'Local budget without a state directory',
    explanation:
      'What has been used of a daily or monthly budget has to outlive a restart. A local budget is written to `spec.stateDirectory` of the bootstrap file; a global one is kept in Redis.',
  },
  SP8007: {
    severity: 'info',
    title: 'Limit of another namespace',
    explanation:
      'As with policies, an EgressRateLimit is for the gateways of its own namespace, or of all when it stands in the root namespace. This one stands in another: it limits nothing here.',
  },
} as const satisfies Record<string, DiagnosticRow>
