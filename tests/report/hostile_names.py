"""Names that would be markup if they were not escaped, and one that would turn around what is behind it."""

HOSTILE = "<img src=x onerror=alert(1)>", 'a"><b onmouseover=1>&amp;\u2028\x1b[31m', "\u05d2\u05e8\u2069\u202eleft"
