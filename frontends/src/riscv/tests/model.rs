//! CPU models.

use crate::riscv::{MODELS, Model};

#[test]
fn isa_strings() {
    let string = |name| Model::named(name).unwrap().isa_string();
    assert_eq!(
        string("rva22s64"),
        "rv64imafdcb_zic64b_zicbom_zicbop_zicboz_ziccamoa_ziccif_zicclsm_ziccrse_zicntr_zicsr_zifencei\
         _zihintpause_zihpm_zmmul_za64rs_zaamo_zalrsc_zfhmin_zca_zcd_zba_zbb_zbs_ssccptr_sscofpmf\
         _sscounterenw_sstc_sstvala_sstvecd_ssu64xl_svade_svbare_svinval_svnapot_svpbmt"
    );
    for name in ["smepmp", "svadu", "zacas", "zabha", "zawrs", "zfa", "zfh", "zicond", "zbc"] {
        let rv64 = Model::named("rv64").unwrap().isa_extensions();
        assert!(rv64.contains(&name), "{name}");
    }
    assert!(!string("rv64").contains("svade"), "Linux uses hardware updates only where Svade is not named");
    assert!(string("max").contains("svade") && string("max").contains("svadu"));
}

#[test]
fn misa_has_the_letters() {
    for model in MODELS {
        let letters = (0..26u8).filter(|bit| model.misa() >> bit & 1 != 0).map(|bit| char::from(b'A' + bit));
        assert_eq!(letters.collect::<String>(), "ABCDFIMSU", "{}", model.name);
        assert_eq!(model.misa() >> 62, 2);
    }
}

#[test]
fn models_are_found_by_name() {
    assert_eq!(MODELS[0].name, "rv64", "the default");
    assert!(Model::named("z80").is_none());
    for model in MODELS {
        assert_eq!(Model::named(model.name), Some(model));
    }
}
