/** Diagnostic rows SP6xxx: ASMEgressTrafficPolicy. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const EGRESS_CODES = {
  SP6000: {
    severity: 'error',
    title: 'Invalid value in an egress policy',
    explanation: 'A value of an ASMEgressTrafficPolicy is not allowed here; the message says what is.',
  },
  SP6001: {
    severity: 'info',
    title: 'Egress policy of another gateway',
    explanation:
      'An ASMEgressTrafficPolicy is ours when byEgressGateway.name equals metadata.name of the bootstrap file or the value of its label istio or app. This one names another gateway and grants nothing here.',
  },
  SP6002: {
    severity: 'error',
    title: 'Egress policy without a gateway port',
    explanation:
      'Neither the to entry nor spec.byEgressGateway has a port, so nothing says on which port of this gateway the hosts are served. ASM can allocate ports by itself; this gateway cannot, since sidecars must know them.',
  },
  SP6004: {
    severity: 'warning',
    title: 'Egress policy outside istio-egress',
    explanation: 'ASM reads ASMEgressTrafficPolicy only in the namespace istio-egress. This gateway reads it anywhere.',
  },
  SP6005: {
    severity: 'warning',
    title: 'Unusual name of an egress policy',
    explanation:
      'ASM wants the policy to be called egress-by- and the name of the gateway. This gateway does not mind.',
  },
  SP6006: {
    severity: 'warning',
    title: 'No known workload matches a workloadSelector',
    explanation:
      'A certificate proves namespace and service account, not labels. Which accounts carry a label is learnt from the workloads among the resources (Pod, Deployment, StatefulSet, DaemonSet, Job, CronJob). None of them has these labels, so nobody matches this from entry.',
  },
  SP6007: {
    severity: 'warning',
    title: 'Workloads that cannot be told apart',
    explanation:
      'A workload with the labels of a workloadSelector and one without them run under the same service account. Their certificates are alike, so neither matches. Give the selected workload a service account of its own.',
  },
  SP6008: {
    severity: 'error',
    title: 'A DestinationRule turns off TLS that an egress policy promises',
    explanation:
      'The policy upgrades a host to HTTPS on this port and a DestinationRule for the same host and port has tls mode DISABLE (also: a tls block without a mode). A DestinationRule may refine the TLS of an upgrade (CA, client certificate, names), never remove it.',
  },
  SP6009: {
    severity: 'error',
    title: 'Egress policies that contradict each other',
    explanation:
      'Two to entries lead to the same host and port but need different settings: one plain HTTP and one upgraded to HTTPS, or different targetPorts. Both use one cluster, which can have only one setting.',
  },
  SP6010: {
    severity: 'warning',
    title: 'httpsUpgrade without enabled',
    explanation: 'httpsUpgrade takes effect only with enabled: true. As it stands requests leave in plain text.',
  },
  SP6011: {
    severity: 'error',
    title: 'Protocol that an egress policy cannot carry',
    explanation:
      'Destinations of one gateway port are told apart by the Host of a request or the SNI of a ClientHello. TCP and protocols like it have neither.',
  },
  SP6013: {
    severity: 'warning',
    title: 'A route leads around the from of an egress policy',
    explanation:
      'The from of an ASMEgressTrafficPolicy holds for its hosts on its gateway port. A VirtualService for another host or port forwards to the same destination without asking who calls. Legal, and sometimes meant; guard it with an AuthorizationPolicy.',
  },
  SP6012: {
    severity: 'warning',
    title: 'Field without effect in an egress policy',
    explanation: 'The field is legal but another one makes it meaningless; the message says which.',
  },
} as const satisfies Record<string, DiagnosticRow>
