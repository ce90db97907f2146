/** What the demo writes: plain lines, in colour only where a person looks at a terminal and has not set NO_COLOR. */

const STYLES = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33', cyan: '36' } as const
export type Style = keyof typeof STYLES

export type Row = {
  readonly title: string
  readonly expected: string
  readonly actual: string
  /** Why it does not match; empty: it matches. */
  readonly problems: readonly string[]
}

const COLUMNS = ['', 'step', 'expected', 'actual', ''] as const

export class Printer {
  readonly #stream: NodeJS.WriteStream
  readonly #colour: boolean

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
    // https://no-color.org: any value that is not empty.
    this.#colour = stream.isTTY && (process.env['NO_COLOR'] ?? '') === ''
  }

  line(text = ''): void {
    this.#stream.write(`${text}\n`)
  }

  paint(style: Style, text: string): string {
    return this.#colour ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text
  }

  heading(text: string): void {
    this.line()
    this.line(this.paint('bold', text))
  }

  /** `    label  text`, further lines of the text below its first. */
  detail(label: string, text: string, style: Style | null = null): void {
    const [first = '', ...rest] = text.split('\n')
    const painted = (part: string) => (style === null ? part : this.paint(style, part))
    this.line(`    ${this.paint('dim', label.padEnd(4))} ${painted(first)}`)
    for (const part of rest) this.line(`         ${painted(part)}`)
  }

  /** Whether a row matches, under its step. */
  verdict(row: Row): void {
    if (row.problems.length === 0) this.detail('', `ok: ${row.actual}`, 'green')
    for (const problem of row.problems) this.detail('', `DIFFERS: ${problem}`, 'red')
  }

  table(rows: readonly Row[]): void {
    const cells = rows.map(({ title, expected, actual, problems }, index) => [
      String(index + 1),
      title,
      expected,
      actual,
      problems.length === 0 ? 'ok' : 'DIFFERS',
    ])
    const widths = COLUMNS.map((name, column) =>
      Math.max(name.length, ...cells.map((row) => (row[column] ?? '').length)),
    )
    const pad = (row: readonly string[]) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
    this.line(this.paint('bold', pad(COLUMNS).trimEnd()))
    for (const [index, row] of cells.entries()) {
      const matches = rows[index]?.problems.length === 0
      const [verdict = '', ...rest] = row.toReversed()
      this.line(`${pad(rest.toReversed())}  ${this.paint(matches ? 'green' : 'red', verdict)}`)
    }
  }
}
