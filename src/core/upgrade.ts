/** What a handshake's head says of the change itself (RFC 6455 §4.1), in the one form in which it is judged and sent. */
export const CHANGE_FIELDS = ['connection', 'Upgrade', 'upgrade', 'websocket'] as const

/** Whether a judged request asks to change its protocol: only then its field list, flat, holds both of them in this form. */
export function isUpgrade(headers: readonly string[]): boolean {
  let found = 0
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === 'connection' && headers[i + 1] === CHANGE_FIELDS[1]) found += 1
    else if (headers[i] === CHANGE_FIELDS[2] && headers[i + 1] === CHANGE_FIELDS[3]) found += 1
  }
  return found === 2
}
