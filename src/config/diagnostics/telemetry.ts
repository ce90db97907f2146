/** Diagnostic rows SP84xx: Telemetry, access-log providers, CEL expressions. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const TELEMETRY_CODES = {
  SP8400: {
    severity: 'warning',
    title: 'Second Telemetry of one scope',
    explanation:
      'One Telemetry speaks for the root namespace, one for the namespace of the gateway, one for the gateway itself (`selector`). Of several Istio takes the oldest; files have no age, so the first by name is taken.',
  },
  SP8401: {
    severity: 'error',
    title: 'Expression cannot be compiled',
    explanation:
      'A CEL expression (`filter.expression`, `tagOverrides.*.value`) has a syntax error, compares values of different types, or names an attribute or function that the gateway does not know; the message gives the column in the expression. The attributes are listed in docs/access-log.md.',
  },
  SP8402: {
    severity: 'warning',
    title: 'Access log is off',
    explanation:
      'Telemetry turns off every access log of this gateway (`disabled: true`). Refusals leave no line then; metrics and the audit stream go on.',
  },
  SP8403: {
    severity: 'warning',
    title: 'Provider cannot be used here',
    explanation:
      'A provider that Telemetry or `meshConfig.defaultProviders` names is not among `meshConfig.extensionProviders`, or is of a type that does not do this. It is passed over. Where no other log is left, lines go to `meshConfig.accessLogFile`, so that none are lost.',
  },
  SP8404: {
    severity: 'error',
    title: 'Invalid access-log provider',
    explanation:
      '`envoyFileAccessLog.path` is an absolute path (or /dev/stdout), `logFormat` has `text` or `labels`, and their operators are those of docs/access-log.md.',
  },
  SP8405: {
    severity: 'warning',
    title: 'Attribute without a value here',
    explanation:
      'Envoy knows the attribute, this gateway has no value for it: it is always missing. A filter that cannot be evaluated for that writes the line; a tag becomes `unknown`.',
  },
  SP8406: {
    severity: 'error',
    title: 'Invalid Telemetry',
    explanation:
      'Istio’s validation refuses it: a tag to add needs a value, a tag to remove has none, names of tags are names of Prometheus labels.',
  },
  SP8407: {
    severity: 'warning',
    title: 'Metric family is off',
    explanation:
      'Telemetry turns off a family of Istio’s metrics at this gateway. The gateway’s own (`sallyport_*`) and Envoy’s counters go on.',
  },
} as const satisfies Record<string, DiagnosticRow>
