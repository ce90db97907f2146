/** Diagnostic rows SP7xxx: ServiceEntry, WorkloadEntry, DestinationRule, clusters. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const SERVICE_CODES = {
  SP7000: {
    severity: 'error',
    title: 'Invalid value in a service or destination rule',
    explanation:
      'A value of a ServiceEntry, WorkloadEntry or DestinationRule is not allowed here; the message says what is. Istio refuses it too.',
  },
  SP7001: {
    severity: 'warning',
    title: 'Route to an unregistered destination',
    explanation:
      'A route names a host or port that no ServiceEntry visible to this gateway has. As in Istio the route loads and answers 503 with the flag NC.',
  },
  SP7003: {
    severity: 'warning',
    title: 'Plain text to a TLS port',
    explanation:
      'Requests are routed to a port of protocol HTTPS or TLS (or 443) and nothing originates TLS for it. As in Istio they leave in plain text, and most servers answer 400. A DestinationRule with tls mode SIMPLE for that port is what is wanted.',
  },
  SP7004: {
    severity: 'warning',
    title: 'Resolution NONE at a gateway',
    explanation:
      "Resolution NONE means the caller's original destination address, which at a gateway is the gateway itself; Istio's gateway answers 503. This gateway resolves the name instead, through the address guard. Write DNS (or DYNAMIC_DNS for wildcards) so that both do the same.",
  },
  SP7005: {
    severity: 'error',
    title: 'Nothing to resolve on a TCP port',
    explanation:
      'A route uses a TCP port of a ServiceEntry with resolution NONE, or of a wildcard host without endpoints. Its bytes name no host, so there is no address to dial.',
  },
  SP7006: {
    severity: 'warning',
    title: 'Two ServiceEntries for one host and port',
    explanation:
      "Only one of them can say where the host is. The gateway's own namespace goes first, then the order of namespace and name.",
  },
  SP7007: {
    severity: 'warning',
    title: 'Two DestinationRules for one host',
    explanation:
      'Several rules of one namespace name the same host. As in Istio their subsets are put together, where the first definition of a name counts; of the traffic policies only the first counts and the others are ignored, their tls included. Without creation times the order is that of their names.',
  },
  SP7008: {
    severity: 'error',
    title: 'ISTIO_MUTUAL outside the mesh',
    explanation:
      'Mode ISTIO_MUTUAL shows the mesh certificate and expects one in return. A host outside the mesh has none.',
  },
  SP7009: {
    severity: 'warning',
    title: 'Upstream certificate not verified',
    explanation: 'insecureSkipVerify is on: whoever answers is believed to be the server.',
  },
  SP7010: {
    severity: 'warning',
    title: 'tls without a mode',
    explanation:
      'The default mode is DISABLE: the other fields of the tls block have no effect and nothing is encrypted.',
  },
  SP7012: {
    severity: 'warning',
    title: 'Endpoint that cannot be dialled',
    explanation: 'An endpoint is a Unix socket, or has only a network. It is left out.',
  },
  SP7013: {
    severity: 'warning',
    title: 'Service without endpoints',
    explanation:
      'A ServiceEntry with resolution STATIC lists no endpoints, or its workloadSelector selects no WorkloadEntry of its namespace that can be dialled. Pods are not looked up: their addresses are not in their manifests. Requests to the service answer 503 with the flag UH.',
  },
  SP7014: {
    severity: 'warning',
    title: 'Load balancer without meaning at a gateway',
    explanation: "PASSTHROUGH dials the caller's original destination, which at a gateway is the gateway itself.",
  },
  SP7015: {
    severity: 'error',
    title: 'Bad path or secret name in tls',
    explanation:
      'Certificate files are absolute paths; credentialName is the name of a directory below spec.secretsDirectory, without slashes.',
  },
  SP7016: {
    severity: 'warning',
    title: 'ISTIO_MUTUAL without an expected identity',
    explanation:
      'Neither the DestinationRule nor the ServiceEntry says which SPIFFE ID the server has. Istio would accept any certificate of the mesh; this gateway verifies the host name, which mesh certificates rarely carry.',
  },
  SP7017: {
    severity: 'warning',
    title: 'Short host name in a ServiceEntry',
    explanation:
      'Hosts of a ServiceEntry are taken as they stand, while a destination without a dot means a Kubernetes service. So the two never meet.',
  },
  SP7018: {
    severity: 'warning',
    title: 'Port-level settings drop tls',
    explanation:
      'An entry of portLevelSettings replaces the whole traffic policy for its port. The rule has tls at the top and the entry has none: on that port nothing is encrypted.',
  },
  SP7019: {
    severity: 'warning',
    title: 'TLS around TLS',
    explanation:
      "A VirtualService's `tls` rule leads to a port for which a DestinationRule originates TLS. As in Istio the application's own TLS goes out inside that of the gateway: right for another gateway, wrong for a web server.",
  },
  SP7020: {
    severity: 'warning',
    title: 'Route to an unknown subset',
    explanation:
      'A route names a subset that no DestinationRule for its host defines (as far as the rules apply to this gateway). As in Istio the route loads and answers 503 with the flag NC.',
  },
  SP7021: {
    severity: 'warning',
    title: 'Subset without endpoints',
    explanation:
      "No endpoint of the ServiceEntry carries the subset's labels. The host's own name, which is resolved when no endpoints are listed, carries none. Requests to the subset answer 503 with the flag UH.",
  },
  SP7022: {
    severity: 'warning',
    title: 'Fail-over without outlier detection',
    explanation:
      'localityLbSetting has failover or failoverPriority, but nothing notices that an endpoint fails: as in Istio the setting has no effect without outlierDetection in the same policy.',
  },
  SP7023: {
    severity: 'warning',
    title: 'Deprecated field',
    explanation: 'The field still has its effect; the fix names what replaced it.',
  },
  SP7024: {
    severity: 'warning',
    title: 'Setting without effect',
    explanation: 'The setting is legal, but what stands around it keeps it from having an effect.',
  },
  SP7025: {
    severity: 'warning',
    title: 'Fail-over without a locality of the gateway',
    explanation:
      'localityLbSetting prefers endpoints near the gateway, and the gateway does not know where it is. Give metadata.labels of the bootstrap the labels topology.kubernetes.io/region and topology.kubernetes.io/zone (and topology.istio.io/subzone). Until then no locality is preferred.',
  },
} as const satisfies Record<string, DiagnosticRow>
