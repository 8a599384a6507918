;; refused: malformed
;; An import from a module whose name is the first half of a character.
(module binary "\00asm\01\00\00\00"
  "\01\04\01\60\00\00"
  "\02\07\01" "\01\c3" "\01f" "\00\00")
