;; refused: does-not-compile
;; A component whose core module claims more bytes than the component has.
;; without metadata
(component binary "\00asm\0d\00\01\00" "\01\7f\00asm\01\00\00\00")
