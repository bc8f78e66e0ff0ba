# Reduces a log of QEMU or an execution trace of ferry to lines that `diff` can compare: CPU, privilege, program counter,
# and the x and f registers that the instruction there changed. See docs/debugging.md.

BEGIN {
    abi = "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
    abi = abi " ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 fs2 fs3 fs4 fs5 fs6 fs7"
    abi = abi " fs8 fs9 fs10 fs11 ft8 ft9 ft10 ft11"
    count = split(abi, names, " ")
    for (i = 1; i <= count; i++) known[names[i]] = 1
}

# ferry
$1 == "exec" {
    line = ""
    for (i = 2; i <= NF && $i != "#"; i++) {
        split($i, pair, "=")
        if (pair[1] == "cpu" || pair[1] == "priv" || pair[1] == "pc" || pair[1] in known) line = line " " $i
    }
    print substr(line, 2)
}

# QEMU: a dump shows the state before an instruction, so that two of a CPU tell what the first one changed.
$1 == "Trace" { cpu = $2; sub(":", "", cpu) }
$1 == "priv" && NF == 2 { privilege = $2 }
$1 == "pc" && NF == 2 { pc = $2 }
$1 ~ /^[xf][0-9]+\// {
    for (i = 1; i < NF; i += 2) {
        split($i, pair, "/")
        name = pair[2]
        if (cpu in running && value[cpu, name] != $(i + 1)) changed = changed " " name "=" $(i + 1)
        value[cpu, name] = $(i + 1)
    }
    if (name == "ft11") {
        if (cpu in running) print running[cpu] changed
        running[cpu] = "cpu=" cpu " priv=" privilege " pc=" pc
        changed = ""
    }
}
END { for (cpu in running) print running[cpu] }
