/** What a handshake's head says of the change itself (RFC 6455 §4.1), in the one form in which it is judged and sent. */
export const CHANGE_FIELDS = ['connection', 'Upgrade', 'upgrade', 'websocket'] as const
