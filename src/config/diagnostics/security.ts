/** Diagnostic rows SP5xxx: AuthorizationPolicy and RequestAuthentication. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const SECURITY_CODES = {
  SP5000: {
    severity: 'error',
    title: 'Invalid value',
    explanation: 'A value is not allowed here; the message says what is.',
  },
  SP5001: {
    severity: 'error',
    title: 'Empty from, to, source or operation',
    explanation:
      'An empty list or object would restrict nothing, which is rarely what was meant; Istio refuses it too. Leave the field out to say "any", or name what is meant.',
  },
  SP5002: {
    severity: 'error',
    title: 'Policy without rules',
    explanation:
      'A DENY or CUSTOM policy without rules never matches anything. Write `rules: [{}]` if it is meant for every request.',
  },
  SP5003: {
    severity: 'error',
    title: 'Unknown condition key',
    explanation:
      'The `key` of a `when` entry is none that Istio knows (or one that Istio replaced by something else). A condition that cannot be judged must not be dropped: that would widen access.',
  },
  SP5004: {
    severity: 'error',
    title: 'Invalid path template',
    explanation:
      'In `paths`, `{*}` stands for one segment and `{**}` for any number of them; each fills a whole segment, nothing but literals may follow `{**}`, and a plain `*` cannot be combined with them. Other braces are refused.',
  },
  SP5005: {
    severity: 'error',
    title: 'Not an IP address or CIDR range',
    explanation: 'Write a bare address (`10.0.0.1`, `fd00::1`) or a range (`10.0.0.0/8`), without port or brackets.',
  },
  SP5006: {
    severity: 'error',
    title: 'Not a port',
    explanation: 'Ports in policies are decimal numbers from 0 to 65535, written as strings.',
  },
  SP5007: {
    severity: 'error',
    title: 'Invalid service account',
    explanation:
      'Write `namespace/serviceAccount`, or the bare name for the namespace of the policy. Wildcards are not allowed, nor is a combination with principals or namespaces in the same source.',
  },
  SP5008: {
    severity: 'error',
    title: 'Provider and action do not fit',
    explanation: '`provider` belongs to the action CUSTOM and is required there.',
  },
  SP5009: {
    severity: 'error',
    title: 'Invalid selector or targetRefs',
    explanation:
      'A policy has either a selector (labels without wildcards) or targetRefs of a known kind in its own namespace, not both.',
  },
  SP5010: {
    severity: 'error',
    title: 'Invalid dry-run annotation',
    explanation:
      '`istio.io/dry-run` is "true" or "false", and only for the actions ALLOW and DENY. Whether a policy is enforced must not be guessed.',
  },
  SP5013: {
    severity: 'warning',
    title: 'Envoy metadata condition cannot be judged',
    explanation:
      '`experimental.envoy.filters.*` reads metadata of Envoy filters, which do not exist here. An ALLOW rule with it never matches; in a DENY rule the condition is taken to hold.',
  },
  SP5020: {
    severity: 'warning',
    title: 'Principal written with spiffe://',
    explanation:
      'Istio adds `spiffe://` itself, so a principal written with it never matches. Write `trust.domain/ns/NAMESPACE/sa/ACCOUNT`. (Where a match refuses, the value is taken at its word here; where it permits, it never matches.)',
  },
  SP5021: {
    severity: 'warning',
    title: 'Policy names a Gateway port, not the bound port',
    explanation:
      'As in Istio, `ports` and `destination.port` mean the port really bound by the gateway process. The port named here is a Gateway (Service) port that `spec.ports` maps to another one, so the condition never holds.',
  },
  SP5022: {
    severity: 'warning',
    title: 'HTTP-only DENY conditions grow on tunnels',
    explanation:
      'Tunnels have no method, path, host or header. As in Istio, a DENY rule loses those conditions there and refuses every tunnel that its other conditions match. Limit the rule with `ports` to the bound HTTP ports if that is not meant.',
  },
  SP5023: {
    severity: 'info',
    title: 'ALLOW policy without rules refuses everything',
    explanation:
      'An ALLOW policy without rules matches nothing, and where an ALLOW policy applies, what no ALLOW matches is refused.',
  },
  SP5024: {
    severity: 'info',
    title: 'Policy with targetRefs does not apply',
    explanation:
      'targetRefs name Gateway API resources, Services or ServiceEntries (waypoints). A gateway workload without the label gateway.networking.k8s.io/gateway-name ignores such policies, as in Istio.',
  },
  SP5025: {
    severity: 'warning',
    title: 'Empty list restricts nothing',
    explanation:
      'Istio reads an empty list like an absent one: the field is not restricted at all. Leave it out, or fill it. An error in ALLOW policies, which would admit more than was meant.',
  },
  SP5026: {
    severity: 'warning',
    title: 'Value can never match',
    explanation:
      'No request or caller has such a host, path, method, header value or identity after normalisation: white space, capitals, or a star in a place where it is taken literally. Where a match would refuse, this is an error: the rule would silently guard nothing.',
  },
  SP5028: {
    severity: 'info',
    title: 'Policy is for other workloads',
    explanation:
      'A policy applies to this gateway when it stands in the namespace of the gateway or in the root namespace and its selector is contained in `metadata.labels` of the bootstrap file.',
  },
  SP5029: {
    severity: 'warning',
    title: 'HTTP-only ALLOW rule never matches on tunnels',
    explanation:
      'Tunnels have no method, path, host or header. As in Istio, an ALLOW rule with such a condition is left out there; where no other ALLOW rule matches, every tunnel is refused. Write rules for tunnels with connection.sni, ports and the caller.',
  },
  SP5030: {
    severity: 'warning',
    title: 'Rule asks for an identity where callers have none',
    explanation:
      'Callers of plaintext, SIMPLE and PASSTHROUGH servers show no client certificate. A condition on principals, namespaces, service accounts or trust domains never holds for them: an ALLOW rule permits nobody there, a DENY rule refuses nobody.',
  },
  SP5027: {
    severity: 'info',
    title: 'Callers without identity match',
    explanation:
      'A source with only `not…` conditions on identity also matches callers that have none (plaintext, passthrough, optional client certificates), as in Istio. Add `principals: ["*"]` to ask for an authenticated caller.',
  },
} as const satisfies Record<string, DiagnosticRow>
