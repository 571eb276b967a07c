//! The client and Debian's `docker-registry`.

use kairn_image::layer::{Compression, Entry, EntryKind, LayerWriter, Timestamp};
use kairn_image::layout::Layout;
use kairn_image::registry::PushedBlob;
use kairn_image::{Descriptor, ImageConfig, Manifest, media_type};

use crate::daemon::Registry;
use crate::{amd64, descriptor, layout, plain_client, reference};

fn write_layer(layout: &Layout, bytes: usize) -> Descriptor {
    let mut content: &[u8] = &b"some text and more of it ".repeat(bytes / 25 + 1)[..bytes];
    let entry = Entry {
        path: b"file".to_vec(),
        kind: EntryKind::File { size_bytes: bytes as u64 },
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: std::collections::BTreeMap::new(),
    };
    let mut writer = LayerWriter::new(layout.blob_writer().unwrap(), Compression::None);
    writer.append(&entry, &mut content).unwrap();
    let (written, blob) = writer.finish().unwrap();
    blob.finish(Some(&written.descriptor)).unwrap();
    written.descriptor
}

#[test]
fn an_image_goes_to_a_real_registry_and_back() {
    let Some(registry) = Registry::start() else { return };
    let host = format!("127.0.0.1:{}", registry.port);
    let client = plain_client();
    let (_folder, layout) = layout();
    let layers = vec![write_layer(&layout, 3_000_000), write_layer(&layout, 10)];
    let config = ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
    layout.put_bytes(&config.to_bytes()).unwrap();
    let manifest = Manifest::new(descriptor(media_type::OCI_CONFIG, &config.to_bytes()), layers);

    let first = reference(&host, "team/first:1");
    for (round, expected) in [(1, PushedBlob::Uploaded), (2, PushedBlob::Existed)] {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            assert_eq!(client.push_blob(&layout, blob, &first, None).unwrap(), expected, "round {round}");
        }
    }
    let digest = client.push_manifest(&manifest.to_bytes(), media_type::OCI_MANIFEST, &first).unwrap();

    let second = reference(&host, "team/second:1");
    assert!(!client.blob_is_there(&manifest.config, &second, None).unwrap());
    assert!(client.blob_is_there(&manifest.config, &second, Some("team/first")).unwrap());
    for layer in &manifest.layers {
        let pushed = client.push_blob(&layout, layer, &second, Some("team/first")).unwrap();
        assert_eq!(pushed, PushedBlob::Mounted);
    }
    client.push_manifest(&manifest.to_bytes(), media_type::OCI_MANIFEST, &second).unwrap();

    let (_folder, target) = crate::layout();
    for name in [second.clone(), second.with_digest(digest)] {
        let resolved = client.resolve(&name, &amd64()).unwrap();
        assert_eq!(
            (resolved.descriptor.digest, &resolved.manifest, &resolved.config),
            (digest, &manifest, &config)
        );
        for layer in &resolved.manifest.layers {
            client.fetch_blob(&name, layer, &target).unwrap();
            assert_eq!(target.read_blob(layer).unwrap(), layout.read_blob(layer).unwrap());
        }
    }
    assert!(client.resolve(&reference(&host, "team/third:1"), &amd64()).is_err());
}
