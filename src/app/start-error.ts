/** The gateway could not start: every reason, one per line, file:line:col first where there is one. */
export class StartError extends Error {
  override readonly name = 'StartError'
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.problems = problems
  }
}
