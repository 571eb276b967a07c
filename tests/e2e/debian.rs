//! A base of a whole distribution.

use crate::support::{Context, Kairn, can_run, container};

#[test]
fn a_distributions_own_tools_work_and_the_result_runs() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {debian} AS build
        RUN adduser --system --group --home /srv/web web && install -o web -g web -m 750 -d /srv/web/data
        RUN dpkg -l | grep -c ^ii > /packages && perl -e 'print 6 * 7, \"\\n\"' > /answer
        RUN rm -rf /usr/share/zoneinfo /var/lib/dpkg/info && mkdir /var/lib/dpkg/info
        FROM {debian}
        COPY --from=build /etc/passwd /etc/group /etc/
        COPY --from=build --chown=web:web /packages /answer /srv/web/
        USER web
        WORKDIR /srv/web
        CMD [\"sh\", \"-c\", \"id -un; cat answer; perl -e 'print -s q(packages) ? qq(ok\\n) : qq(empty\\n)'\"]
        ",
    );
    let kairn = Kairn::new();
    let image = kairn.image_of(&context);
    assert_eq!(container::run_image(&image, &[]).succeeded().stdout, "web\n42\nok\n");
    let build = kairn.image_by(kairn.build(&context).args(["--target", "build"]));
    let tree = build.tree();
    assert_eq!(tree.listing("/var/lib/dpkg/info"), "d0755 0:0 var/lib/dpkg/info\n", "removed and made again");
    assert!(!tree.has("/usr/share/zoneinfo"));
    let data = tree.get("/srv/web/data").expect("the data folder");
    assert!(data.uid >= 100 && data.mode == 0o750, "{data:?}");
}
