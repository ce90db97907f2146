/** docs/reasons.md, written from the tables of reason codes, response flags and answers of the gateway's own. */
import { FLAGS } from '../core/flags.ts'
import { REASONS } from '../core/reasons.ts'
import { REFUSALS, type RefusalRow } from '../core/refusal.ts'

const cell = (text: string) => text.replaceAll('|', '\\|')
const code = (text: string | null) => (text === null || text === '' ? '–' : `\`${cell(text)}\``)
const table = (head: string, rows: readonly string[]) =>
  `${head}\n|${'---|'.repeat(head.split('|').length - 2)}\n${rows.join('\n')}\n`

/** The whole Markdown file. */
export function renderReasonsDoc(): string {
  const reasons = Object.entries(REASONS).map(([reason, meaning]) => `| \`${reason}\` | ${cell(meaning)} |`)
  const flags = Object.entries(FLAGS).map(([flag, name]) => `| \`${flag}\` | ${name} |`)
  const answers = Object.values<RefusalRow>(REFUSALS).map(
    ({ status, body, flag, details, reason, close }) =>
      `| ${status} | ${code(body)} | ${code(flag)} | ${code(details)} | ${code(reason)} | ${close === true ? 'yes' : 'no'} |`,
  )
  return `# Reasons, flags and answers

<!-- Written by \`npm run docs\` from src/core/{reasons,flags,refusal}.ts. Do not edit. -->

## Reason codes

A refusal by the gateway itself carries one in the header \`x-sallyport-reason\`, in the field \`reason\` of the access log and in
the metrics \`sallyport_refused_requests_total\` and \`sallyport_refused_connections_total\`. A code of a feature that is not
built yet is reserved for it. Where an upstream failed there is none: the response flag says what happened.

${table('| code | meaning |', reasons)}
## Response flags

Envoy's, in the field \`response_flags\`; \`-\` when there is none. Those of features that are not built yet do not occur.

${table('| flag | Envoy’s long name |', flags)}
## Answers of the gateway's own

Callers of gRPC get status 200 and the matching \`grpc-status\` instead. "Closes": an HTTP/1.1 connection ends after the
answer. The details are what \`response_code_details\` begins with; often it says more, as
\`rbac_access_denied_matched_policy[ns[NS]-policy[NAME]-rule[I]]\`.

${table('| status | body | flag | details | reason | closes |', answers)}`
}
