;; refused: does-not-compile, says `value`s
;; Components may have start functions too, by a proposal that is off: 0x09 is their section.
(component binary "\00asm\0d\00\01\00" "\09\03\00\00\00")
