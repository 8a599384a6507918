;; refused: wrong-world, says UTF-8
;; in options
string-encoding=latin1+utf16
