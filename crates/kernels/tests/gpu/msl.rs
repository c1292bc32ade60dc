use super::ALL;
use thalweg_hal::shader::Shader;

#[test]
fn dump() {
    for source in ALL {
        let (text, _) = Shader::parse(source, "test").unwrap().msl().unwrap();
        std::fs::write(format!("/tmp/msl/{}.metal", source.name), text).unwrap();
    }
}
