/** Titles that say which field a test proves: `field KIND.path: …`, several fields separated by commas (see index.test.ts). */

/** `KIND.path`, as titles and docs/support-matrix.md write it. */
export type FieldName = string

/**
 * The fields that the titles of a test file name. A title may hold `${CONST}` where the file says `const CONST = '…'`; a
 * title that stays unresolved names itself, which no schema has.
 */
export function titledFields(text: string): readonly FieldName[] {
  const constants = new Map(
    [...text.matchAll(/^const (\w+) = (['"`])([^'"`\n]*)\2$/gm)].map(([, name = '', , value = '']) => [name, value]),
  )
  const resolve = (title: string): string =>
    title.replace(/\$\{(\w+)\}/g, (whole, name: string) =>
      constants.has(name) ? resolve(constants.get(name) ?? '') : whole,
    )
  return [...text.matchAll(/(['"`])field ([^'"`\n]+?)(?:: |\1)/g)].flatMap(([, , names = '']) =>
    resolve(names).split(', '),
  )
}

/** Field → test files that name it, in alphabetical order. */
export function filesByField(
  sources: readonly { readonly file: string; readonly text: string }[],
): ReadonlyMap<FieldName, readonly string[]> {
  const found = new Map<FieldName, string[]>()
  for (const { file, text } of sources)
    for (const name of new Set(titledFields(text))) found.set(name, [...(found.get(name) ?? []), file])
  return found
}
