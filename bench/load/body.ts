/** What the outside site answers: 1 KB. */
export const BODY = 'x'.repeat(1024)
