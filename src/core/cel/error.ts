/** An expression that cannot be compiled. `column` counts characters from 1; the message does not repeat it. */
export class CelError extends Error {
  override readonly name = 'CelError'
  readonly column: number
  constructor(message: string, offset: number) {
    super(message)
    this.column = offset + 1
  }
}
