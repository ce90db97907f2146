/** docs/diagnostics.md, written from the catalogue; `npm run docs` updates it, test/docs.test.ts compares it. */
import { DIAGNOSTICS, type DiagnosticRow } from './diagnostics.ts'

const AREAS: Readonly<Record<string, string>> = {
  SP1: 'Files, YAML, structure, bootstrap',
  SP4: 'Gateway and VirtualService',
  SP5: 'AuthorizationPolicy and RequestAuthentication',
  SP6: 'ASMEgressTrafficPolicy',
  SP7: 'ServiceEntry, WorkloadEntry, DestinationRule',
}

/** The whole file as text. */
export function diagnosticsDocument(): string {
  const lines = [
    '# Diagnostics',
    '',
    '<!-- Written by `npm run docs` from src/config/diagnostics/*.ts. Do not edit. -->',
    '',
    'Every finding about configuration is one line, `file:line:col severity CODE message → fix`, and one run reports all of',
    'them. An **error** keeps the configuration from being used: at start the gateway does not start, at a reload the last',
    'good configuration stays. A **warning** says what is passed over or probably not meant; `validate --strict` turns',
    'warnings into errors. The severity given here is the usual one; the explanation says when another applies.',
    '',
  ]
  const rows = Object.entries<DiagnosticRow>(DIAGNOSTICS).sort(([a], [b]) => (a < b ? -1 : 1))
  let area = ''
  for (const [code, { severity, title, explanation }] of rows) {
    if (code.slice(0, 3) !== area) {
      area = code.slice(0, 3)
      lines.push(`## ${area}xxx: ${AREAS[area] ?? 'Other'}`, '')
    }
    lines.push(`### ${code} ${title}`, '', `*${severity}.* ${explanation}`, '')
  }
  return lines.join('\n')
}
