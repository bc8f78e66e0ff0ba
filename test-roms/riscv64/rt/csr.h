/* CSR numbers and fields (RISC-V Privileged Architecture, version 20250508). Numbers, since assemblers differ in
 * which names they know. */
#ifndef CSR_H
#define CSR_H

#define FFLAGS 0x001
#define FRM 0x002
#define FCSR 0x003
#define SSTATUS 0x100
#define SIE 0x104
#define STVEC 0x105
#define SCOUNTEREN 0x106
#define SENVCFG 0x10a
#define SSCRATCH 0x140
#define SEPC 0x141
#define SCAUSE 0x142
#define STVAL 0x143
#define SIP 0x144
#define STIMECMP 0x14d
#define SATP 0x180
#define SCOUNTOVF 0xda0
#define MSTATUS 0x300
#define MISA 0x301
#define MEDELEG 0x302
#define MIDELEG 0x303
#define MIE 0x304
#define MTVEC 0x305
#define MCOUNTEREN 0x306
#define MENVCFG 0x30a
#define MCOUNTINHIBIT 0x320
#define MHPMEVENT3 0x323
#define MSCRATCH 0x340
#define MEPC 0x341
#define MCAUSE 0x342
#define MTVAL 0x343
#define MIP 0x344
#define PMPCFG0 0x3a0
#define PMPADDR0 0x3b0
#define MSECCFG 0x747
#define MCYCLE 0xb00
#define MINSTRET 0xb02
#define MHPMCOUNTER3 0xb03
#define CYCLE 0xc00
#define TIME 0xc01
#define INSTRET 0xc02
#define HPMCOUNTER3 0xc03
#define MVENDORID 0xf11
#define MARCHID 0xf12
#define MIMPID 0xf13
#define MHARTID 0xf14
#define MCONFIGPTR 0xf15

#define MSTATUS_SIE (1ul << 1)
#define MSTATUS_MIE (1ul << 3)
#define MSTATUS_SPIE (1ul << 5)
#define MSTATUS_UBE (1ul << 6)
#define MSTATUS_MPIE (1ul << 7)
#define MSTATUS_SPP (1ul << 8)
#define MSTATUS_VS (3ul << 9)
#define MSTATUS_MPP (3ul << 11)
#define MSTATUS_MPP_S (1ul << 11)
#define MSTATUS_FS (3ul << 13)
#define MSTATUS_FS_INITIAL (1ul << 13)
#define MSTATUS_FS_CLEAN (2ul << 13)
#define MSTATUS_MPRV (1ul << 17)
#define MSTATUS_SUM (1ul << 18)
#define MSTATUS_MXR (1ul << 19)
#define MSTATUS_TVM (1ul << 20)
#define MSTATUS_TW (1ul << 21)
#define MSTATUS_TSR (1ul << 22)
#define MSTATUS_UXL (3ul << 32)
#define MSTATUS_SXL (3ul << 34)
#define MSTATUS_SD (1ul << 63)

#define SSI (1ul << 1)
#define MSI (1ul << 3)
#define STI (1ul << 5)
#define MTI (1ul << 7)
#define SEI (1ul << 9)
#define MEI (1ul << 11)
#define LCOFI (1ul << 13)

#define MENVCFG_FIOM (1ul << 0)
#define ENVCFG_CBIE (3ul << 4)
#define ENVCFG_CBIE_FLUSH (1ul << 4)
#define ENVCFG_CBCFE (1ul << 6)
#define ENVCFG_CBZE (1ul << 7)
#define MENVCFG_ADUE (1ul << 61)
#define MENVCFG_PBMTE (1ul << 62)
#define MENVCFG_STCE (1ul << 63)

#define MSECCFG_MML 1ul
#define MSECCFG_MMWP 2ul
#define MSECCFG_RLB 4ul

/* mcause values. */
#define FETCH_MISALIGNED 0
#define FETCH_ACCESS 1
#define ILLEGAL 2
#define BREAKPOINT 3
#define LOAD_MISALIGNED 4
#define LOAD_ACCESS 5
#define STORE_MISALIGNED 6
#define STORE_ACCESS 7
#define ECALL_U 8
#define ECALL_S 9
#define ECALL_M 11
#define FETCH_PAGE 12
#define LOAD_PAGE 13
#define STORE_PAGE 15
#define INTERRUPT (1ul << 63)

#endif
