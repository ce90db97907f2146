/** Diagnostic rows SP83xx: extension providers, CUSTOM policies and external authorizers. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const AUTHORIZER_CODES = {
  SP8300: {
    severity: 'error',
    title: 'Extension provider without a provider',
    explanation:
      'Each item of `meshConfig.extensionProviders` has a `name` of its own and exactly one provider (`envoyExtAuthzHttp`, `envoyExtAuthzGrpc` …). Which of several would be meant nobody can say.',
  },
  SP8301: {
    severity: 'error',
    title: 'Invalid extension provider',
    explanation:
      'A field of an extension provider has a value that cannot be used: `service` is `[NAMESPACE/]HOST` without a port and no metadata address, `pathPrefix` begins with `/`, and headers added to a check neither delimit it nor say where it goes.',
  },
  SP8302: {
    severity: 'warning',
    title: 'Unknown authorizer',
    explanation:
      'A CUSTOM policy names a provider that `meshConfig.extensionProviders` does not have, or one that is no external authorizer. As in Istio nothing is let through until that is mended: every request gets 403 with the flag UAEX, every tunnel is closed.',
  },
  SP8303: {
    severity: 'error',
    title: 'Two authorizers',
    explanation:
      'CUSTOM policies of one gateway name different providers. As in Istio a workload has one external authorizer: whose word would count nobody can say.',
  },
  SP8304: {
    severity: 'warning',
    title: 'clearRouteCache: false changes nothing',
    explanation:
      'Envoy can choose the route before an external authorizer changes the request. This gateway always chooses it afterwards, by what is really sent, so that what was judged and what goes out are the same.',
  },
  SP8305: {
    severity: 'warning',
    title: 'Tunnels that the authorizer cannot be asked about',
    explanation:
      'A CUSTOM policy covers listeners that carry tunnels, and its provider speaks HTTP. Istio lets such tunnels pass without asking; this gateway refuses those that a rule covers. On tunnels a rule loses its HTTP conditions (hosts, methods, paths, headers), so that it may cover all of them.',
  },
  SP8306: {
    severity: 'error',
    title: 'Condition that CUSTOM cannot have',
    explanation:
      'Rules of a CUSTOM policy decide who has to be asked about, before tokens are verified and policies judged; Istio allows no condition on the caller’s identity in them (principals, namespaces, service accounts, trust domains, tokens). Give such conditions to a DENY or ALLOW policy, or let the authorizer decide by what it is told of the caller.',
  },
} as const satisfies Record<string, DiagnosticRow>
