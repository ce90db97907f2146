/**
 * TABLE of Envoy response flags we emit (Envoy docs, access_log/usage.rst), in Envoy's enum order:
 * several flags on one line are joined in this order.
 */
export const FLAGS = {
  UH: 'NoHealthyUpstream',
  UT: 'UpstreamRequestTimeout',
  LR: 'LocalReset',
  UR: 'UpstreamRemoteReset',
  UF: 'UpstreamConnectionFailure',
  UC: 'UpstreamConnectionTermination',
  UO: 'UpstreamOverflow',
  NR: 'NoRouteFound',
  DI: 'DelayInjected',
  FI: 'FaultInjected',
  RL: 'RateLimited',
  UAEX: 'UnauthorizedExternalService',
  RLSE: 'RateLimitServiceError',
  DC: 'DownstreamConnectionTermination',
  URX: 'UpstreamRetryLimitExceeded',
  SI: 'StreamIdleTimeout',
  IH: 'InvalidEnvoyRequestHeaders',
  DPE: 'DownstreamProtocolError',
  UMSDR: 'UpstreamMaxStreamDurationReached',
  DT: 'DurationTimeout',
  UPE: 'UpstreamProtocolError',
  NC: 'NoClusterFound',
  OM: 'OverloadManagerTerminated',
  DF: 'DnsResolutionFailed',
} as const satisfies Record<string, string>

export type Flag = keyof typeof FLAGS

const ORDER = Object.keys(FLAGS) as Flag[]

/** Envoy's text for a set of flags: `-` when there is none, else short codes joined by commas in enum order. */
export function formatFlags(flags: readonly Flag[]): string {
  if (flags.length === 0) return '-'
  if (flags.length === 1) return flags[0] as string
  return ORDER.filter((flag) => flags.includes(flag)).join(',')
}
