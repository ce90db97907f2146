/**
 * Walk-through 002: an egress gateway for edition.cnn.com: HTTP with and without mTLS, the application's TLS inside mTLS and
 * passed through. What the page shows before (curl through the sidecar alone) and its rules for `mesh` are the sidecar's.
 */
import type { Row, Scenario, Way } from './row.ts'

const HOST = 'edition.cnn.com'
const SLEEP = 'default/sleep'
const MOVED = `https://${HOST}/politics`
const CURL = { path: '/politics', headers: { 'user-agent': 'curl/7.64.0' } }

/** A connection that no server takes. */
const NO_SERVER = { response_flags: 'NR', response_code_details: 'filter_chain_not_found' }

function moved(way: Pick<Way, 'from' | 'hop' | 'sni'>): Row {
  return {
    ...{ name: 'the page: 301', port: 80, ...way, host: HOST, request: CURL, reaches: 'plain' },
    gets: { status: 301, headers: { location: MOVED } },
    line: { upstream_cluster: `outbound|80||${HOST}` },
  }
}

function otherHost(way: Pick<Way, 'from' | 'hop' | 'sni'>): Row {
  return {
    ...{ name: 'another Host on that server: 502', port: 80, ...way, host: 'www.cnn.com', request: CURL },
    ...{ gets: { status: 502, body: '' }, reaches: null },
    line: {
      ...{ upstream_cluster: 'BlackHoleCluster', route_name: 'block_all', response_code_details: 'direct_response' },
      reason: 'not_registered',
    },
  }
}

const HTTP_FILES = ['service-entry.yaml', 'added.yaml', 'gateway.yaml', 'virtual-service.yaml']

export const HTTP_MTLS_002: Scenario = {
  title: '002, HTTP in mTLS',
  seed: 'seed-002-http-mtls',
  files: HTTP_FILES,
  sites: [HOST],
  moved: MOVED,
  steps: [
    {
      name: 'the SNI of the page’s DestinationRule',
      rows: [
        moved({ from: SLEEP, hop: 'http/mtls', sni: HOST }),
        otherHost({ from: SLEEP, hop: 'http/mtls', sni: HOST }),
        {
          ...{ name: 'nobody', from: null, port: 80, hop: 'http/mtls', sni: HOST, host: HOST, request: CURL },
          ...{ gets: 'cut', reaches: null },
          line: { reason: 'no_client_certificate' },
        },
      ],
    },
    {
      name: 'a sidecar without that DestinationRule finds no server',
      rows: [
        {
          ...{ name: 'cut', from: SLEEP, port: 80, hop: 'http/mtls', host: HOST, request: CURL },
          ...{ gets: 'cut', reaches: null },
          line: { ...NO_SERVER, downstream_peer_uri_san: null, source_namespace: null, reason: 'no_server_for_sni' },
        },
      ],
    },
  ],
}

export const HTTP_PLAIN_002: Scenario = {
  title: '002, HTTP without mTLS',
  seed: 'seed-002-http-plain',
  files: HTTP_FILES,
  sites: [HOST],
  moved: MOVED,
  steps: [
    {
      name: 'plaintext, nobody identified',
      rows: [moved({ from: null, hop: 'http' }), otherHost({ from: null, hop: 'http' })],
    },
    {
      name: 'mTLS where the port speaks plaintext',
      rows: [
        {
          ...{ name: 'cut', from: SLEEP, port: 80, hop: 'http/mtls', host: HOST, request: CURL },
          ...{ gets: 'cut', reaches: null },
          line: {
            ...{ response_flags: 'NR', requested_server_name: null, downstream_peer_uri_san: null },
            ...{ source_namespace: null, reason: 'protocol_mismatch' },
          },
        },
      ],
    },
  ],
}

const TLS_FILES = ['service-entry.yaml', 'added.yaml', 'egress.yaml']
const COUNTER = `cluster.outbound|443||${HOST}.upstream_cx_total`

function page(name: string, way: Pick<Way, 'from' | 'hop' | 'sni'>): Row {
  return {
    ...{ name, port: 443, ...way, host: HOST, request: { path: '/bytes/151654' }, reaches: 'secure' },
    gets: { status: 200, length: 151_654 },
    line: { upstream_cluster: `outbound|443||${HOST}` },
  }
}

export const TLS_MTLS_002: Scenario = {
  title: '002, TLS in mTLS',
  seed: 'seed-002-tls-mtls',
  files: TLS_FILES,
  sites: [HOST],
  counter: COUNTER,
  steps: [
    {
      name: 'the SNI of the page’s DestinationRule, and the `tcp` route',
      rows: [
        page('default', { from: SLEEP, hop: 'tls/mtls', sni: HOST }),
        page('test-egress', { from: 'test-egress/sleep', hop: 'tls/mtls', sni: HOST }),
        {
          ...{ name: 'bytes that are no TLS take it too', from: SLEEP, port: 443, hop: 'bytes/mtls', sni: HOST },
          ...{ host: HOST, request: { body: 'GET /politics HTTP/1.1\r\n\r\n' }, gets: 'anything', reaches: 'secure' },
          line: { upstream_cluster: `outbound|443||${HOST}`, bytes_received: 26 },
        },
      ],
    },
    {
      name: 'what is not edition.cnn.com, or nobody, goes nowhere',
      rows: [
        {
          // The inner name must be the outer one, and covered by the server's hosts (contract §4, Names).
          ...{ name: 'another name inside', from: SLEEP, port: 443, hop: 'tls/mtls', sni: HOST, host: 'www.cnn.com' },
          ...{ gets: 'cut', reaches: null },
          line: { response_code_details: 'sni_mismatch', reason: 'sni_mismatch' },
        },
        {
          ...{ name: 'no DestinationRule', from: SLEEP, port: 443, hop: 'tls/mtls', host: HOST },
          ...{ gets: 'cut', reaches: null },
          line: {
            ...{ ...NO_SERVER, inner_server_name: null, downstream_peer_uri_san: null, source_namespace: null },
            reason: 'no_server_for_sni',
          },
        },
        {
          ...{ name: 'nobody', from: null, port: 443, hop: 'tls/mtls', sni: HOST, host: HOST },
          ...{ gets: 'cut', reaches: null },
          line: { inner_server_name: null, reason: 'no_client_certificate' },
        },
        {
          // The gateway terminates that SNI itself, with a certificate that is not the site's.
          ...{ name: 'no mTLS', from: null, port: 443, hop: 'tls', host: HOST },
          ...{ gets: 'another certificate', reaches: null },
        },
      ],
    },
  ],
}

function closed(name: string, host: string, reason: 'no_server_for_sni' | 'no_sni'): Row {
  return {
    ...{ name, from: null, port: 443, hop: 'tls', host, gets: 'cut', reaches: null },
    line: { ...NO_SERVER, reason },
  }
}

export const TLS_PASSTHROUGH_002: Scenario = {
  title: '002, TLS passed through',
  seed: 'seed-002-tls-passthrough',
  files: TLS_FILES,
  sites: [HOST],
  counter: COUNTER,
  steps: [
    {
      name: 'by sni_hosts',
      rows: [page('once', { from: null, hop: 'tls' }), page('and again', { from: null, hop: 'tls' })],
    },
    {
      name: 'nothing else',
      rows: [
        closed('a name that is not in sni_hosts', 'www.cnn.com', 'no_server_for_sni'),
        closed('no name', '', 'no_sni'),
        {
          ...{ name: 'no TLS', from: null, port: 443, hop: 'bytes', host: HOST, gets: 'cut', reaches: null },
          request: { body: 'GET / HTTP/1.1\r\n\r\n' },
          line: { response_flags: 'NR', reason: 'protocol_mismatch' },
        },
        {
          ...{ name: 'a request', from: null, port: 443, hop: 'http', host: HOST, gets: 'cut', reaches: null },
          line: { response_flags: 'NR', reason: 'protocol_mismatch' },
        },
      ],
    },
  ],
}
