/** TABLE of what the programs cannot say, or need not say twice, and why. All else of the walk-throughs they run. */
import type { Caller, Hop } from '../scenarios/row.ts'

type Unspoken = Caller['unspoken']

const HOPS: readonly Hop[] = ['http/mtls', 'http', 'tls/mtls', 'tls', 'bytes/mtls', 'bytes']

function all(hops: readonly Hop[], why: string): Unspoken {
  return Object.fromEntries(hops.map((hop) => [hop, why]))
}

const NO_REQUEST = all(
  ['tls/mtls', 'tls', 'bytes/mtls', 'bytes'],
  'no request that could be HTTP/2: the same bytes as with HTTP/1.1',
)
const ONE_TLS = 'curl speaks TLS inside TLS to an https:// proxy only, after CONNECT'
const ONLY_REQUESTS = 'curl sends requests'
const ONLY_TLS = 's_client speaks nothing but TLS'

export const UNSPOKEN = {
  HAProxy: {
    'HTTP/1.1': {},
    'HTTP/2': NO_REQUEST,
  },
  nginx: {
    'HTTP/1.1': {},
    'HTTP/2': all(HOPS, 'nginx speaks HTTP/1.1 to the servers behind it, never HTTP/2'),
  },
  curl: {
    'HTTP/1.1': { 'tls/mtls': ONE_TLS, 'bytes/mtls': ONLY_REQUESTS, bytes: ONLY_REQUESTS },
    'HTTP/2': NO_REQUEST,
  },
  'openssl s_client': {
    'HTTP/1.1': { http: ONLY_TLS, bytes: ONLY_TLS },
    'HTTP/2': all(HOPS, 's_client carries what it is given, and the text of a request is HTTP/1.1'),
  },
} as const satisfies Record<string, Readonly<Record<Caller['protocol'], Unspoken>>>
