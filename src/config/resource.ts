/** A resource after canonicalisation: camelCase keys, protobuf-JSON values as plain ones, positions kept beside. */
import type { z } from 'zod'
import type { SourceRef } from '../core/attributes.ts'
import type { DiagnosticCode, Severity } from './diagnostics.ts'

export type Resource<Spec = unknown> = {
  readonly apiVersion: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly spec: Spec
  /** Where a path of the document stands, e.g. `at('spec', 'rules', 0, 'from')`; of the nearest ancestor if it is absent. Camel-case path. */
  readonly at: (...path: readonly (string | number)[]) => SourceRef
}

/** Reports one finding. `severity` overrides the catalogue's default for the code. */
export type Report = (
  code: DiagnosticCode,
  at: SourceRef,
  message: string,
  options?: { readonly fix?: string; readonly severity?: Severity },
) => void

/**
 * A known field that is not implemented. `path` is dotted from the document root, `[]` for list items, `*` for map keys:
 * `spec.http[].retries`. `error` where ignoring it would widen access (contract §3, Checking), else `warning`.
 */
export type UnsupportedField = { readonly path: string; readonly severity: 'error' | 'warning'; readonly why: string }

/**
 * What docs/support-matrix.md says about a field (`path` as in UnsupportedField, or an ancestor) that is read.
 * `inert`: checked, and does nothing at a gateway, in Istio neither, or is there for people to read. `refused`: an error
 * wherever it is written; `check`, or the lowering, reports it. `limited`: honoured, but for what `why` says.
 */
export type FieldNote = {
  readonly path: string
  readonly is: 'inert' | 'refused' | 'limited'
  readonly why: string
}

/** One file per kind under config/kinds/ exports one of these; config/kinds/index.ts is the table of them. */
export type KindModule<Spec = unknown> = {
  readonly kind: string
  /** API group, '' for core Kubernetes. */
  readonly group: string
  readonly versions: readonly string[]
  /** What an unknown key in `spec` is (contract §3). Inside any `tls` block it is always an error. */
  readonly unknownKeys: 'error' | 'warning'
  /** Of `spec`. Plain z.object built from config/schema.ts; unknown keys are found by the canonical walk, not by zod. */
  readonly schema: z.ZodType<Spec>
  /** True: a missing `spec` is an empty one (AuthorizationPolicy); false: it is an error. */
  readonly specOptional: boolean
  readonly unsupported: readonly UnsupportedField[]
  readonly notes?: readonly FieldNote[]
  /** Blocks with the very schema of another: path → the path whose fields are listed. */
  readonly sameAs?: Readonly<Record<string, string>>
  /** Meaning that can be judged from the resource alone (Istio's validation rules). */
  readonly check?: (resource: Resource<Spec>, report: Report) => void
}
