# Sourced by the scripts that install packages.
# Of pip's settings in the caller's shell only those stay that say where packages come from; those
# of Python the Makefile has taken away.
for setting in "${!PIP_@}"; do
    case $setting in
        PIP_INDEX_URL | PIP_EXTRA_INDEX_URL | PIP_FIND_LINKS | PIP_NO_INDEX | PIP_CONFIG_FILE) ;;
        PIP_CERT | PIP_CLIENT_CERT | PIP_TRUSTED_HOST | PIP_PROXY | PIP_KEYRING_PROVIDER) ;;
        PIP_CACHE_DIR | PIP_NO_CACHE_DIR | PIP_DEFAULT_TIMEOUT | PIP_TIMEOUT | PIP_RETRIES) ;;
        *) unset "$setting" ;;
    esac
done
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
