"""Names that would be markup if they were not escaped."""

HOSTILE = "<img src=x onerror=alert(1)>", 'a"><b onmouseover=1>&amp;\u2028\x1b[31m'
