/** What the Telemetry resources that apply to this gateway, and meshConfig's defaults, come to: logs and metrics. */

/** One destination of access-log lines. Several may name one file. */
export type AccessLogModel = {
  /** Name of the provider, or `meshConfig` for `accessLogFile`. For people. */
  readonly name: string
  /** `/dev/stdout`, `/dev/stderr` or an absolute path. */
  readonly path: string
  readonly encoding: 'JSON' | 'TEXT'
  /** Envoy command operators; JSON: the text of an object. '' is the default format of the encoding. */
  readonly format: string
  /** JSON: missing values have no key; TEXT: they print as nothing instead of `-`. */
  readonly omitEmptyValues: boolean
  /** `strings`: every value is text and a missing one is `"-"`, as in Istio before typed JSON. */
  readonly jsonStyle: 'typed' | 'strings'
  /** A CEL expression; null: every record is written. */
  readonly filter: string | null
}

/** What becomes of one of Istio's metric families. */
export type MetricOverride = {
  /** As in Prometheus: `istio_requests_total`. */
  readonly metric: string
  readonly disabled: boolean
  /** By name. `value`: a CEL expression; null: the label is removed. */
  readonly tags: readonly { readonly name: string; readonly value: string | null }[]
}

export type TelemetryModel = {
  /** By name of the provider; empty: the access log is off. */
  readonly accessLogs: readonly AccessLogModel[]
  /** Only families that are changed, by name. */
  readonly metrics: readonly MetricOverride[]
}
