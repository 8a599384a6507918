;; refused: wrong-world, says UTF-8
;; in options
string-encoding=utf16
