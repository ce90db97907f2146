/** What Telemetry's `tracing` and meshConfig come to: which requests have a span, what it says, where it goes. */
import type { TracingProvider } from './extension-providers.ts'

/** A tag of the operator's own, on every span. */
export type CustomTag = {
  readonly name: string
  /** Of the request's header; null: the tag is `value` always. Lower case. */
  readonly header: string | null
  /** With `header`: what stands for one that is missing; null: the tag is left out then. */
  readonly value: string | null
}

export type TracingModel = {
  readonly provider: TracingProvider
  /** Of the model's clusters. */
  readonly cluster: string
  /** 0–100, of the requests about which the caller has not decided. */
  readonly samplingPercent: number
  readonly customTags: readonly CustomTag[]
  /** `istio.*` */
  readonly istioTags: boolean
  /** False: what the caller has sent goes on as it is, not with our span in it. */
  readonly propagate: boolean
}
