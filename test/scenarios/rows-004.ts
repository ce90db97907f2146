/**
 * Walk-through 004: REGISTRY_ONLY, ALLOW_ANY, two ServiceEntries, a timeout. On the page the sidecar itself leaves the mesh,
 * so its log and Mixer's are the sidecar's; here the same registry decides at the gateway it sends everything to.
 */
import type { Row, Scenario } from './row.ts'

const SLEEP = 'default/sleep'
const GOOGLE = 'www.google.com'
const CNN = 'edition.cnn.com'

/** curl shows the page's reader exit code 35. */
function blockedTls(host: string): Row {
  return {
    ...{ name: `https://${host}: cut`, from: SLEEP, port: 443, hop: 'tls/mtls', host, gets: 'cut', reaches: null },
    line: { response_flags: 'UH', upstream_cluster: 'BlackHoleCluster', reason: 'not_registered' },
  }
}

const BLOCKED_HTTP: Row = {
  ...{ name: 'http://httpbin.org: 502', from: SLEEP, port: 80, hop: 'http/mtls', host: 'httpbin.org' },
  ...{ request: { path: '/headers' }, gets: { status: 502, body: '' }, reaches: null },
  line: { upstream_cluster: 'BlackHoleCluster', reason: 'not_registered' },
}

export const REGISTRY_ONLY_004: Scenario = {
  title: '004, REGISTRY_ONLY',
  seed: 'seed-004-registry-only',
  files: ['added.yaml'],
  sites: [GOOGLE, CNN],
  steps: [
    { name: 'blocks what no ServiceEntry names', rows: [blockedTls(GOOGLE), blockedTls(CNN), BLOCKED_HTTP] },
    {
      name: 'the HTTP service',
      apply: { 'service-entry-http.yaml': 'service-entry-http.yaml', 'added-http.yaml': 'added-http.yaml' },
      rows: [
        {
          ...{ name: '200', from: SLEEP, port: 80, hop: 'http/mtls', host: 'httpbin.org', reaches: 'plain' },
          request: {
            path: '/headers',
            headers: { 'user-agent': 'curl/7.60.0', 'x-envoy-decorator-operation': 'httpbin.org:80/*' },
          },
          gets: { status: 200, echo: { Host: 'httpbin.org', 'User-Agent': 'curl/7.60.0' } },
          line: { bytes_received: 0, upstream_cluster: 'outbound|80||httpbin.org' },
        },
      ],
    },
    {
      name: 'the HTTPS service: the other site is still blocked',
      apply: { 'service-entry-https.yaml': 'service-entry-https.yaml', 'added-https.yaml': 'added-https.yaml' },
      rows: [
        {
          ...{ name: '200', from: SLEEP, port: 443, hop: 'tls/mtls', host: GOOGLE, reaches: 'secure' },
          ...{ request: { method: 'HEAD' }, gets: { status: 200 } },
          line: { upstream_cluster: `outbound|443||${GOOGLE}` },
        },
        blockedTls(CNN),
      ],
    },
    {
      name: 'cleaned up: blocked again',
      apply: {
        ...{ 'service-entry-http.yaml': null, 'added-http.yaml': null },
        ...{ 'service-entry-https.yaml': null, 'added-https.yaml': null },
      },
      rows: [BLOCKED_HTTP, blockedTls(GOOGLE)],
    },
  ],
}

const ANYWHERE = { upstream_cluster: 'PassthroughCluster' }

export const ALLOW_ANY_004: Scenario = {
  title: '004, ALLOW_ANY',
  seed: 'seed-004-allow-any',
  files: ['added.yaml'],
  sites: [GOOGLE],
  names: { 'httpbin.org': '127.0.0.1', [GOOGLE]: 'PORT443', 'metadata.example': '169.254.169.254' },
  steps: [
    {
      name: 'every name goes out, resolved by the gateway',
      rows: [
        {
          ...{ name: 'http:// to the port of the authority', from: SLEEP, port: 80, hop: 'http/mtls' },
          ...{ host: 'httpbin.org:PORT_HTTP', request: { path: '/headers' }, gets: { status: 200 }, reaches: 'plain' },
          line: ANYWHERE,
        },
        {
          ...{ name: 'https:// to port 443 of the SNI', from: SLEEP, port: 443, hop: 'tls/mtls', host: GOOGLE },
          ...{ request: { method: 'HEAD' }, gets: { status: 200 }, reaches: 'port443' },
          line: ANYWHERE,
        },
      ],
    },
    {
      name: 'but not to addresses that nobody may dial',
      rows: [
        {
          ...{ name: 'http://: 403', from: SLEEP, port: 80, hop: 'http/mtls', host: 'metadata.example' },
          ...{ gets: { status: 403 }, reaches: null },
          line: { ...ANYWHERE, reason: 'address_denied' },
        },
        {
          ...{ name: 'https://: cut', from: SLEEP, port: 443, hop: 'tls/mtls', host: 'metadata.example' },
          ...{ gets: 'cut', reaches: null },
          line: { ...ANYWHERE, reason: 'address_denied' },
        },
      ],
    },
  ],
}

export const TIMEOUT_004: Scenario = {
  title: '004, a timeout of 3 s',
  seed: 'seed-004-timeout',
  files: ['service-entry-http.yaml', 'added.yaml', 'virtual-service.yaml', 'added-timeout.yaml'],
  sites: ['httpbin.org'],
  steps: [
    {
      name: 'while the site takes 5 s',
      rows: [
        {
          ...{ name: '504', from: SLEEP, port: 80, hop: 'http/mtls', host: 'httpbin.org', reaches: 'plain' },
          request: { path: '/delay/5' },
          // 504, and not the site's 200: before 5 s were over.
          gets: { status: 504, body: 'upstream request timeout', seconds: 3 },
          line: {
            ...{ response_flags: 'UT', response_code_details: 'response_timeout' },
            upstream_cluster: 'outbound|80||httpbin.org',
          },
        },
      ],
    },
  ],
}
