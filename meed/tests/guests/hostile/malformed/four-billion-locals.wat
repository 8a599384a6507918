;; refused: malformed, says locals
;; Sixteen bytes that declare eight billion locals in two groups: their sum does not fit into 32 bits.
(module binary "\00asm\01\00\00\00"
  "\01\04\01\60\00\00"
  "\03\02\01\00"
  "\0a\11\01\0f\02" "\ff\ff\ff\ff\0f\7f" "\ff\ff\ff\ff\0f\7f" "\0b")
