/** Walk-through 000: ASMEgressTrafficPolicy: HTTP, DENY of POST, httpsUpgrade; and the application's own TLS on port 444. */
import type { Gets, Row, Scenario, Step } from './row.ts'

const SLEEP = 'mytest/sleep-a'
const NGINX = 'default/nginx'
const HOSTS = ['httpbin.org', 'www.httpbin.org'] as const
const POST = { method: 'POST', path: '/anything', body: 'x' }
const DENY_ID = 'ns[istio-system]-policy[sleep-a-egress-www-httpbin-org]-rule[0]'
const UPLOAD = 'a'.repeat(300_000)

/** What every line of a refused tunnel says: the page shows UH and BlackHoleCluster, in the sidecar's log. */
const REFUSED = { response_flags: 'UH', upstream_cluster: 'BlackHoleCluster', bytes_sent: 0 }

const BLOCKED: Gets = { status: 502, body: '' }

function blocked(from: string, host: string, reason: 'caller_not_listed' | 'not_registered', port: 80 | 444 = 80): Row {
  return {
    ...{ name: `${from} to ${host}: 502`, from, port, hop: 'http/mtls', host, gets: BLOCKED, reaches: null },
    line: { upstream_cluster: 'BlackHoleCluster', route_name: 'block_all', reason },
  }
}

function denied(host: string): Row {
  return {
    name: `POST from ${SLEEP} to ${host}: 403`,
    ...{ from: SLEEP, port: 80, hop: 'http/mtls', host, request: POST, reaches: null },
    gets: {
      status: 403,
      body: 'RBAC: access denied',
      headers: { 'content-type': 'text/plain', 'content-length': '19' },
    },
    line: {
      response_code_details: `rbac_access_denied_matched_policy[${DENY_ID}]`,
      upstream_cluster: 'outbound|80||www.httpbin.org',
      bytes_sent: 19,
      authz_decision: 'deny',
      authz_policy: DENY_ID,
      reason: 'rbac_denied',
    },
  }
}

/** @param decision `allow` once a policy has been asked */
function allowed(host: string, scheme: 'http' | 'https', decision: 'none' | 'allow' = 'none'): Row {
  return {
    ...{ name: `${SLEEP} to ${host}: 200`, from: SLEEP, port: 80, hop: 'http/mtls', host },
    request: { path: '/anything' },
    gets: { status: 200, url: `${scheme}://${host}/anything` },
    reaches: scheme === 'http' ? 'plain' : 'secure',
    line: { upstream_cluster: `outbound|${scheme === 'http' ? 80 : 443}||${host}`, authz_decision: decision },
  }
}

export const HTTP_000: Scenario = {
  title: '000, HTTP',
  seed: 'seed-000',
  files: ['test.yaml', 'added.yaml'],
  sites: HOSTS,
  steps: [
    {
      name: 'before the policy: 502 for both',
      rows: HOSTS.flatMap((host) => [SLEEP, NGINX].map((from) => blocked(from, host, 'not_registered'))),
    },
    {
      name: 'with it: for the listed workload and the listed hosts only',
      apply: { 'policy.yaml': 'egress-by-egressgateway.yaml' },
      rows: [
        ...HOSTS.flatMap((host) => [allowed(host, 'http'), blocked(NGINX, host, 'caller_not_listed')]),
        blocked(SLEEP, 'example.org', 'not_registered'),
        {
          ...{ name: 'a body out', from: SLEEP, port: 80, hop: 'http/mtls', host: 'httpbin.org', reaches: 'plain' },
          request: { method: 'POST', path: '/upload', body: UPLOAD },
          gets: { status: 200, body: `${JSON.stringify({ bytes: UPLOAD.length }, null, 2)}\n` },
          line: { bytes_received: UPLOAD.length },
        },
        {
          ...{ name: 'a body in', from: SLEEP, port: 80, hop: 'http/mtls', host: 'httpbin.org', reaches: 'plain' },
          request: { path: '/bytes/300000' },
          gets: { status: 200, length: 300_000 },
          line: { bytes_sent: 300_000 },
        },
      ],
    },
    {
      name: 'DENY of POST: GET goes on, and a port in Host is no way round it (behaviour §1.4)',
      apply: { 'deny-post.yaml': 'deny-post.yaml' },
      rows: [allowed('www.httpbin.org', 'http', 'allow'), denied('www.httpbin.org'), denied('www.httpbin.org:80')],
    },
    {
      name: 'httpsUpgrade: https:// outside',
      apply: { 'deny-post.yaml': null, 'policy.yaml': 'egress-by-egressgateway-https-upgrade.yaml' },
      rows: [...HOSTS.map((host) => allowed(host, 'https')), blocked(NGINX, 'httpbin.org', 'caller_not_listed')],
    },
    {
      name: 'https://: a DestinationRule made for httpsUpgrade does not wrap the application’s TLS',
      apply: { 'policy.yaml': 'egress-by-egressgateway-tls.yaml' },
      rows: [
        // How its cluster is called beside the one with the rule's TLS is nobody's promise.
        { ...tunnel('httpbin.org'), line: {} },
        cut(NGINX, 'httpbin.org', 'caller_not_listed'),
      ],
    },
    {
      name: 'deleted: 502 again',
      apply: { 'policy.yaml': null },
      rows: [blocked(SLEEP, 'httpbin.org', 'not_registered')],
    },
  ],
}

function tunnel(host: string, sni?: string): Row {
  return {
    name: `${SLEEP} to https://${host}${sni === undefined ? '' : `, outer SNI ${sni}`}: 200`,
    ...{ from: SLEEP, port: 444, hop: 'tls/mtls', host, ...(sni === undefined ? {} : { sni }) },
    request: { path: '/anything' },
    gets: { status: 200, url: `https://${host}/anything` },
    reaches: 'secure',
    line: { response_code_details: null, upstream_cluster: `outbound|443||${host}` },
  }
}

function cut(from: string, host: string, reason: 'caller_not_listed' | 'not_registered'): Row {
  return {
    ...{ name: `${from} to https://${host}: cut`, from, port: 444, hop: 'tls/mtls', host, gets: 'cut', reaches: null },
    line: { ...REFUSED, reason },
  }
}

const DELETED: Step = {
  name: 'deleted: cut',
  apply: { 'egress-by-egressgateway-tls.yaml': null },
  rows: [cut(SLEEP, 'www.httpbin.org', 'not_registered'), blocked(SLEEP, 'www.httpbin.org', 'not_registered')],
}

/** Nothing but mTLS proves `from`: the gateway itself answers a ClientHello without it. */
function terminated(host: string): Row {
  return {
    ...{ name: `https://${host} without mTLS`, from: null, port: 444, hop: 'tls', host, reaches: null },
    gets: 'another certificate',
  }
}

export const TLS_000: Scenario = {
  title: '000, the application’s own TLS through port 444',
  seed: 'seed-000',
  files: ['test.yaml', 'added-tls.yaml', 'egress-by-egressgateway-tls.yaml'],
  sites: HOSTS,
  steps: [
    {
      name: 'for the listed workload and the listed hosts only',
      rows: [
        ...HOSTS.map((host) => tunnel(host)),
        cut(NGINX, 'www.httpbin.org', 'caller_not_listed'),
        cut(SLEEP, 'example.org', 'not_registered'),
        // http:// is not listed any more.
        blocked(SLEEP, 'httpbin.org', 'not_registered'),
        blocked(NGINX, 'httpbin.org', 'not_registered'),
        // Requests in the mTLS of port 444 are as unregistered: what the policy lists there is TLS, so no `from` holds them.
        blocked(SLEEP, 'httpbin.org', 'not_registered', 444),
        terminated('httpbin.org'),
      ],
    },
    {
      name: 'the sidecar may name the host outside too; another name is refused',
      rows: [
        tunnel('httpbin.org', 'httpbin.org'),
        {
          ...{ name: 'one name outside, another inside', from: SLEEP, port: 444, hop: 'tls/mtls', host: 'httpbin.org' },
          ...{ sni: 'www.httpbin.org', gets: 'cut', reaches: null },
          line: { reason: 'sni_mismatch' },
        },
      ],
    },
    {
      // Neither host nor method is visible: what is left of the rule is its namespace (behaviour §1.6, §12 row 13).
      name: 'the DENY of POST covers whole tunnels',
      apply: { 'deny-post.yaml': 'deny-post.yaml' },
      rows: [
        {
          ...{ name: 'cut', from: SLEEP, port: 444, hop: 'tls/mtls', host: 'httpbin.org', gets: 'cut', reaches: null },
          line: {
            response_code_details: null,
            connection_termination_details: `rbac_access_denied_matched_policy[${DENY_ID}]`,
            authz_decision: 'deny',
            authz_policy: DENY_ID,
            reason: 'rbac_denied',
          },
        },
      ],
    },
    { ...DELETED, apply: { ...DELETED.apply, 'deny-post.yaml': null } },
  ],
}

function passed(host: string): Row {
  return {
    ...{ name: `https://${host} as it is: 200`, from: null, port: 444, hop: 'tls', host, reaches: 'secure' },
    request: { path: '/anything' },
    gets: { status: 200, url: `https://${host}/anything` },
    line: { upstream_cluster: `outbound|443||${host}` },
  }
}

/** The page leaves open how a sidecar sends the TLS (behaviour §6.5); without mTLS it must be allowed expressly. */
export const PASSTHROUGH_000: Scenario = {
  title: '000, unauthenticatedPassthrough',
  seed: 'seed-000',
  files: ['test.yaml', 'added-tls.yaml', 'egress-by-egressgateway-tls.yaml'],
  sites: HOSTS,
  edit: (bootstrap) => `${bootstrap}  unauthenticatedPassthrough: allow\n`,
  steps: [
    { name: 'passed through on its SNI, for anybody', rows: [...HOSTS.map(passed), terminated('example.org')] },
    {
      name: 'beside it, mTLS still proves who calls',
      rows: [tunnel('httpbin.org'), cut(NGINX, 'httpbin.org', 'caller_not_listed')],
    },
  ],
}
