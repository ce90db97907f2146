/**
 * TABLE of attacks and of what this gateway does about each. The numbers are names: they stand in the titles of tests
 * (`threat 20: …`) and in comments, and are never given anew. docs/threats.md is written from this and from the titles.
 */

export type Threat = { readonly attack: string; readonly outcome: string }

export type ThreatGroup = { readonly title: string; readonly threats: Readonly<Record<number, Threat>> }

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** Those that HTTP/1.1 is part of, on either side of the gateway: their tests run over both engines. */
export const OVER_BOTH_ENGINES: ReadonlySet<number> = new Set([...range(1, 14), ...range(18, 26)])

export const THREAT_GROUPS: readonly ThreatGroup[] = [
  {
    title: 'Framing and HTTP/1.1',
    threats: {
      1: {
        attack: '`content-length` and `transfer-encoding` in one request',
        outcome: '400, connection closed, nothing dialled, what follows is no request',
      },
      2: {
        attack: 'transfer codings that are not exactly `chunked`; two of them; a space before the colon; folded lines',
        outcome: 'as 1',
      },
      3: { attack: 'two lengths, `+5`, `5, 5`, `0x5`, more than 64 bits', outcome: 'as 1' },
      4: {
        attack: 'a body on DELETE, OPTIONS, GET, HEAD … that holds a request (CVE-2026-29057)',
        outcome: 'the site gets one request, framed; its connection stays in step',
      },
      5: { attack: 'bare LF and CR, NUL and control characters, spaces in names, folded lines', outcome: 'as 1' },
      6: {
        attack: 'broken chunks: sizes, endings, 1 MB of chunk extension, trailers',
        outcome: '400, connection closed; the body never ends at the site',
      },
      7: {
        attack: 'a site that answers ambiguously, twice, with a body where none belongs, with a flood of 1xx',
        outcome: 'one clean answer or 502 `UPE`; the connection is not used again',
      },
      8: {
        attack: 'a site that closes or resets before or in its answer',
        outcome: '503 `UC` before the head; after it the caller sees a cut within a second, never a clean end',
      },
      9: {
        attack: 'a caller who leaves before, during or after a request, by FIN, RST or half-close',
        outcome: 'the connection to the site is closed within a second, `DC`, gauges back to 0',
      },
      10: {
        attack: '2,000 fields, 1 MB of them, a target of 64 KB; a head that never ends',
        outcome: '431; 408 after `headersTimeout`',
      },
      11: {
        attack: 'hop-by-hop fields; `Connection` that names fields policy or framing relies on',
        outcome: 'not forwarded, and no rule sees them; framing, `host` and credentials named there: 400',
      },
      12: {
        attack: '`Expect: 100-continue`, and expectations of anything else',
        outcome: 'passed on end to end, a refused caller is never asked for its body; 417',
      },
      13: {
        attack:
          'upgrades other than WebSocket, `h2c`, with a body, behind other requests, with bytes ahead of the answer; 101 nobody asked for',
        outcome:
          '403 `upgrade_failed`, 400, 502 `UPE`: no tunnel; nothing goes out before the 101, nothing behind another answer is a request',
      },
      14: {
        attack: '`x-envoy-*`, `x-forwarded-*`, our own reason field, from callers and from sites',
        outcome: 'stripped, never believed',
      },
    },
  },
  {
    title: 'HTTP/2',
    threats: {
      15: {
        attack: 'rapid reset: streams opened and reset by the thousand (CVE-2023-44487)',
        outcome: 'GOAWAY with an error, session ended long before 10,000 streams, other callers are served',
      },
      16: { attack: 'CONTINUATION without end (CVE-2024-27983)', outcome: 'session ended, one line, no growth' },
      17: {
        attack: 'floods of SETTINGS, PING, PRIORITY, empty DATA; window overflow (CVE-2026-21714); broken frames',
        outcome: 'session ended or unharmed, others served, memory back where it was',
      },
      18: {
        attack: '`:authority` against `host`, none, odd paths, forbidden fields, CR and LF in values, wrong lengths',
        outcome: '400, or PROTOCOL_ERROR on the stream; the site sees nothing',
      },
      19: {
        attack: 'plain HTTP/2 requests, whose pseudo fields made http-proxy throw',
        outcome: 'served as one HTTP/1.1 request; what cannot be carried is refused before a byte is sent',
      },
    },
  },
  {
    title: 'Authority, host and path',
    threats: {
      20: {
        attack: 'spellings of a host: case, trailing dot, ports, userinfo, white space, two of them, none',
        outcome:
          'the decision of the canonical form, or 400. A DENY covers every port, an ALLOW without port only the default and the Gateway port',
      },
      21: { attack: 'absolute-form targets', outcome: 'only with the same authority as `Host`; otherwise 400' },
      22: {
        attack: 'spellings of a path: `//`, `..`, `%2e`, `%2f`, `\\`, `;`, `%00`, double encoding',
        outcome: 'what the configured normalisation maps to a refused path is refused; what is sent is what was judged',
      },
      23: {
        attack: 'methods in lower case, unknown, CONNECT, TRACE; odd versions',
        outcome: '400; CONNECT 404; TRACE 405; nothing dialled',
      },
      24: {
        attack: 'names beside a wildcard: the apex, `badexample.com`, `example.com.evil.io`',
        outcome:
          '`*.example.com` covers all names below, at any depth, and no other; `.example.com` is refused in configuration',
      },
      25: {
        attack: 'international names, full-width dots, joiners, look-alike letters',
        outcome: 'the A-label only; every other spelling is 400, and an error in configuration',
      },
      26: {
        attack: 'repeated fields and comma lists before a header condition (CVE-2026-26308, CVE-2026-31838)',
        outcome: 'any value makes a DENY match, all of them are needed for an ALLOW',
      },
    },
  },
  {
    title: 'TLS, SNI and identity',
    threats: {
      27: {
        attack: 'no certificate, expired, of another CA, a CA certificate, for servers only, may sign',
        outcome: 'closed before a byte is read, one line with the reason, counted by reason',
      },
      28: {
        attack: 'no URI SAN, two of them, URIs that are no SPIFFE ID of one workload',
        outcome: 'as 27: `invalid_svid`',
      },
      29: { attack: 'identities in a DNS name, the common name, the text of another SAN', outcome: 'as 28' },
      30: {
        attack: 'trust domains that begin or end like ours; ours in capitals',
        outcome: '`foreign_trust_domain`; case makes no difference',
      },
      31: {
        attack: '`.`, `[` and prefixes in rules about identities',
        outcome: 'taken literally; `foo` is not `foo-admin`; where a rule permits, `*` stays within its part',
      },
      32: {
        attack: 'session tickets after a CA is removed, after a policy change, on another server',
        outcome: 'the identity is judged anew on every connection and request; foreign tickets are worth nothing',
      },
      33: {
        attack: 'ClientHellos in pieces, too large, with two names, an address, none, with ECH; SSLv2; no TLS at all',
        outcome: 'at most 64 KB and five seconds, the same answer however they are cut, refused by name otherwise',
      },
      34: { attack: 'an outer SNI that names another host than the inner', outcome: 'closed, `sni_mismatch`' },
      35: {
        attack: 'sites with a wrong, expired or foreign certificate, or that speak no TLS',
        outcome: '503 `UF` with the reason, not a byte of the request sent, never plaintext or unverified',
      },
      36: {
        attack: 'ALPN lists of sidecars, `istio-peer-exchange` among them',
        outcome: 'served as `h2`, `http/1.1` or `istio`; never `istio-peer-exchange`, so never a preamble',
      },
    },
  },
  {
    title: 'Where traffic goes',
    threats: {
      37: {
        attack: 'allowed names that resolve to loopback, private, metadata, CGNAT, multicast … or IPv4 within IPv6',
        outcome: '403 (tunnels: closed) `address_denied` with the class; nothing dialled',
      },
      38: {
        attack: 'DNS rebinding with TTL 0',
        outcome: 'the address judged is the address dialled: no hit on a private listener',
      },
      39: {
        attack: 'answers with public and private addresses',
        outcome: 'only the allowed ones are dialled, the others counted',
      },
      40: {
        attack: '`2130706433`, `0x7f.1`, `127.1` … for an address',
        outcome: '400; a canonical literal is judged like an answer',
      },
      41: {
        attack: 'the gateway’s own ports as destination; gateways that lead to each other',
        outcome: '403 `address_denied{self}`, `address_denied{loop}`',
      },
      42: {
        attack: 'aliases into the cluster, search domains, names of the inside',
        outcome:
          'final addresses are judged; names are absolute; cluster suffixes are refused by name unless an entry declares them',
      },
      43: { attack: 'redirects from a site to somewhere inside', outcome: 'passed through, never followed' },
      44: {
        attack: 'DNS that fails, stalls, flaps, truncates, floods, or has odd TTLs',
        outcome:
          '503 `DF`, asked once for all who wait, TTLs within limits, the last good answer for `staleFor` at most; nobody else waits',
      },
    },
  },
]
