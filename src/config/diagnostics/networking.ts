/** Diagnostic rows SP4xxx: Gateway, VirtualService and how they join. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const NETWORKING_CODES = {
  SP4000: {
    severity: 'error',
    title: 'Invalid value',
    explanation: 'A value is not allowed here; the message says what is.',
  },
  SP4001: {
    severity: 'error',
    title: 'Gateway server and TLS do not fit together',
    explanation:
      'HTTPS and TLS servers need a `tls` block; on plaintext servers only `tls.httpsRedirect` is legal. A server is never opened with less protection than its protocol names.',
  },
  SP4002: {
    severity: 'error',
    title: 'Certificate settings do not fit the TLS mode',
    explanation:
      'SIMPLE, MUTUAL and OPTIONAL_MUTUAL need exactly one source of a certificate, the two MUTUAL ones also a CA. ISTIO_MUTUAL takes the SVID of the gateway and the trust bundle, and forbids others.',
  },
  SP4003: {
    severity: 'error',
    title: 'AUTO_PASSTHROUGH is refused',
    explanation:
      'It lets the caller name any cluster of the mesh in the SNI, past every VirtualService. It belongs to multi-network gateways, not to the border. Use PASSTHROUGH with explicit hosts.',
  },
  SP4004: {
    severity: 'error',
    title: 'Not a host pattern',
    explanation:
      'Hosts are `name`, `*.suffix` or `*`; in a Gateway also with a namespace in front: `ns/name`, `./name`, `*/name`.',
  },
  SP4005: {
    severity: 'warning',
    title: 'Gateway server dropped: its host is already taken',
    explanation:
      'Two TLS servers on one port name the same host. As in Istio the later one is dropped (here by Gateway name, then namespace, since files have no age). An error where the server that stays asks less of its callers.',
  },
  SP4006: {
    severity: 'warning',
    title: 'Gateway server dropped: protocols conflict on one port',
    explanation:
      'A port is either plaintext HTTP, plaintext TCP or TLS. As in Istio the later server is dropped (here by Gateway name, then namespace, since files have no age). An error where the server that stays asks less of its callers.',
  },
  SP4007: {
    severity: 'error',
    title: 'Two servers claim the same SNI with equal right',
    explanation:
      'One terminates TLS and one passes it through, for the same host on the same port: which one a ClientHello belongs to would be a guess.',
  },
  SP4008: {
    severity: 'error',
    title: 'Two Gateway ports on one bound port',
    explanation: 'Each Gateway port needs a port of its own. Change `spec.ports` of the bootstrap file.',
  },
  SP4010: {
    severity: 'info',
    title: 'Gateway is for other workloads',
    explanation: 'Its selector is not contained in `metadata.labels` of the bootstrap file, so it is passed over.',
  },
  SP4011: {
    severity: 'warning',
    title: 'Setting without effect',
    explanation: 'The setting does nothing in this place; the message says why.',
  },
  SP4012: {
    severity: 'error',
    title: 'Bind address is not honoured',
    explanation:
      'Every listener binds to `bindAddress` of the bootstrap file. A server that asks for a narrower address would be reachable from more places than its YAML says.',
  },
  SP4020: {
    severity: 'warning',
    title: 'VirtualService names an unknown Gateway',
    explanation: 'No Gateway of that namespace and name was loaded, so the VirtualService is not bound there.',
  },
  SP4021: {
    severity: 'warning',
    title: 'VirtualService and Gateway have no host in common',
    explanation:
      'The VirtualService names a Gateway of ours, but none of its hosts is covered by a server of that Gateway (or the server does not admit its namespace): it has no effect there.',
  },
  SP4022: {
    severity: 'warning',
    title: 'Rule can never be reached',
    explanation: 'An earlier rule of the same VirtualService matches every request.',
  },
  SP4023: {
    severity: 'error',
    title: 'Not an RE2 pattern',
    explanation: 'Regular expressions are RE2, matched against the whole value: no look-around, no back-references.',
  },
  SP4024: {
    severity: 'error',
    title: 'Header cannot be edited',
    explanation:
      'Pseudo and hop-by-hop fields, framing fields and `x-envoy-*` are the business of the gateway; editing them would change what a message means or steer proxies behind us.',
  },
  SP4027: {
    severity: 'error',
    title: 'Rule with no action or several',
    explanation: 'A rule has exactly one of `route`, `redirect`, `directResponse`, `delegate`.',
  },
  SP4028: {
    severity: 'warning',
    title: 'sourceLabels and sourceNamespace are about the gateway',
    explanation:
      'In a rule bound to a Gateway Istio compares them with the labels and namespace of the gateway itself (not at all when the match names `gateways`). They say nothing about the caller: use an AuthorizationPolicy.',
  },
  SP4029: {
    severity: 'error',
    title: 'Hosts of a VirtualService overlap',
    explanation:
      'One of its hosts covers another. Istio refuses this; name each host once, in the widest form that is meant.',
  },
  SP4030: {
    severity: 'warning',
    title: 'Match that can never hold',
    explanation: 'The message says why no request can satisfy it.',
  },
  SP4031: {
    severity: 'info',
    title: 'VirtualService is not exported to us',
    explanation: 'Its `exportTo` does not contain the namespace of the gateway, so it is passed over, as in Istio.',
  },
  SP4034: {
    severity: 'info',
    title: 'Inner SNI is routed, which Istio does not do',
    explanation:
      "A VirtualService's `tls` rule is bound to a server that terminates TLS. Here it counts: the SNI of the application's own TLS inside is matched first, then the `tcp` rule. Istio's gateway looks at `tcp` rules only and would leave this rule out.",
  },
  SP4035: {
    severity: 'warning',
    title: 'SNI beyond the hosts of the server',
    explanation:
      "A `tls` rule names an SNI that the hosts of the Gateway server do not cover. Istio's gateway would carry it; here only the names that both cover are carried.",
  },
  SP4036: {
    severity: 'warning',
    title: 'SNI routed twice',
    explanation:
      'An earlier `tls` rule already routes one of these names on the port. As in Istio the later match is left out with all its names.',
  },
  SP4037: {
    severity: 'warning',
    title: 'Rule of a kind that its server does not use',
    explanation:
      'HTTP servers use `http` rules, PASSTHROUGH servers `tls`, TCP servers `tcp`, servers that terminate TLS for opaque bytes `tls` and `tcp`. No server that this rule concerns looks at rules of its kind.',
  },
  SP4038: {
    severity: 'warning',
    title: 'Wildcard destination that does not cover the SNI',
    explanation:
      'The destination resolves the requested name, and only names of its own wildcard. Connections for this SNI fail (UH).',
  },
  SP4040: {
    severity: 'error',
    title: 'Egress policy on a server that cannot prove the caller',
    explanation:
      'The gateway port of an ASMEgressTrafficPolicy is served by a Gateway server without mutual TLS, so `from` could not be enforced there. Passing TLS through without identity is allowed by `unauthenticatedPassthrough: allow`.',
  },
  SP4042: {
    severity: 'error',
    title: 'Passed-through TLS with several destinations',
    explanation:
      'Egress policies lead one host of a gateway port to different destinations, depending on the caller. TLS that is passed through shows no caller, so which one is meant would be a guess.',
  },
  SP4043: {
    severity: 'warning',
    title: 'Only TLS with an SNI is carried beside an egress policy',
    explanation:
      'A `tcp` rule covers hosts of an ASMEgressTrafficPolicy on the same gateway port. It carries TLS for them to callers that the policy lists; bytes that name no host are closed, since nobody could say whose `from` they need.',
  },
  SP4044: {
    severity: 'error',
    title: 'Not a command operator',
    explanation:
      'A header value holds a `%` that starts no operator, an operator this gateway does not know, or one that is only known once there is a response. A literal percent sign is written `%%`. Envoy refuses unknown operators too.',
  },
  SP4045: {
    severity: 'warning',
    title: 'Delegate that is not there',
    explanation:
      'A rule delegates to a VirtualService that was not loaded, has hosts of its own, or is not exported to the namespace of the rule. What the rule matches answers 404. (Istio leaves the rule out, so that a later rule may take its requests.)',
  },
  SP4046: {
    severity: 'warning',
    title: 'Rule of a delegate beyond its root',
    explanation:
      'Each match of a delegate has to be narrower than one of the rule that delegates to it: the same or longer prefixes, no expressions. As in Istio the rule is left out.',
  },
  SP4047: {
    severity: 'warning',
    title: 'Match that an earlier rule already has',
    explanation:
      'The same match stands in an earlier rule of the VirtualService, which takes every request it holds for.',
  },
  SP4048: {
    severity: 'error',
    title: 'Not a condition for retries',
    explanation:
      '`retryOn` takes status codes and the names that Istio knows: 5xx, gateway-error, reset, reset-before-request, connect-failure, envoy-ratelimited, retriable-4xx, refused-stream, retriable-status-codes, retriable-headers, http3-post-connect-failure, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable.',
  },
} as const satisfies Record<string, DiagnosticRow>
