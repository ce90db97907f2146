/** Diagnostic rows SP81xx: the shared store (spec.redis). Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const REDIS_CODES = {
  SP8100: {
    severity: 'error',
    title: 'Which Redis?',
    explanation:
      'spec.redis needs exactly one of url (one server), sentinel (a primary that Sentinels know) and cluster (nodes of a Redis Cluster).',
  },
  SP8101: {
    severity: 'error',
    title: 'Contradiction in spec.redis',
    explanation:
      'Two fields of spec.redis say different things, or half of one thing: TLS files beside a plaintext url, a certificate without its key, a user, database or password given twice, a database number in a Cluster.',
  },
  SP8102: {
    severity: 'warning',
    title: 'Password in the bootstrap file',
    explanation:
      'The url of spec.redis holds a password. It works, and it is kept out of logs and dumps, but the bootstrap file is usually a ConfigMap that many may read. spec.redis.passwordFile names a file (of a Secret); it is read again at every connection, so that a new password needs no restart.',
  },
} as const satisfies Record<string, DiagnosticRow>
