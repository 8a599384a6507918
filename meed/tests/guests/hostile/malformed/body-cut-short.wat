;; refused: malformed
;; A function whose body claims 100 bytes in a section of 4.
(module binary "\00asm\01\00\00\00"
  "\01\04\01\60\00\00"
  "\03\02\01\00"
  "\0a\04\01\64\00\0b")
